"""A database with something in it, and ways to run the command on it."""

import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import create_engine

from investigation_backends.sql import migrate
from investigation_backends.sql.names import REVISIONS
from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.cli.app import run

COMMAND = Path(sys.executable).with_name("investigate")
HOSTILE = "[red]evil[/red] \x1b]0;pwned\x07\x1b[2J \u202eabc\r\nnew line\ttab 日本語 :smile:"


@tool(agent="device_agent", effect="read")
def fingerprint(device_id: str) -> dict[str, object]:
    return {"device": device_id, "risk": 0.93}


@tool(agent="network")
def vpn_check(ip: str) -> dict[str, object]:
    raise ConnectionError("connection refused after 3 tries")


@tool(name="weird\x1b]0;pwned\x07[red]")
def weird(x: object) -> object:
    return x


class Ids(NamedTuple):
    """Of the investigations in the database, the oldest first."""

    completed: str
    failed: str
    queued: str


def record(url: str) -> Ids:
    """Three investigations: one that went well, one with a hostile text in every place, one not begun."""
    with InvestigationSDK(url) as sdk:
        with sdk.investigation(
            "account 42 taken over", key="case-981", investigation_type="fraud", user_id="gil", phases=["device", "net"]
        ) as completed:
            completed.report(tokens_used=1200, api_calls_made=3, cost_estimate=Decimal("0.0123"))
            with completed.phase("device"):
                for n in range(3):
                    fingerprint(f"d-{n}")
            with completed.phase("net"), pytest.raises(ConnectionError):
                vpn_check("10.0.0.1")
            completed.result = {"verdict": "contained"}
        with (
            pytest.raises(RuntimeError),
            sdk.investigation(
                HOSTILE, key="\x1b[31mkey", user_id="\x1b[31mann", investigation_type="x\x1b[31m"
            ) as failed,
        ):
            failed.record("custom.note", {"text": HOSTILE})
            with failed.phase("[bold]p\x1b[31m"):
                weird({"a\x1b[2J": HOSTILE})
                raise RuntimeError(HOSTILE)
        queued = sdk.sync.service.create_investigation("ann", "A subject " + "that is long " * 10, "due_diligence")
    return Ids(completed.id, failed.id, queued.id)


@pytest.fixture(scope="session")
def _recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ids]:
    path = tmp_path_factory.mktemp("recorded") / "fraud.db"
    return path, record(f"sqlite:///{path}")


@pytest.fixture
def ids(_recorded: tuple[Path, Ids]) -> Ids:
    return _recorded[1]


@pytest.fixture
def database(_recorded: tuple[Path, Ids], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it for the test, in a folder of its own, which is where the command runs."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("INVESTIGATION_URL", raising=False)
    (folder / "fraud.db").write_bytes(_recorded[0].read_bytes())
    return folder / "fraud.db"


@pytest.fixture
def older(database: Path) -> Path:
    """The database as the first released version would have made it: it has nothing in it."""
    database.unlink()
    engine = create_engine(f"sqlite:///{database}")
    with engine.begin() as connection:
        migrate.upgrade(connection, REVISIONS[0])
    engine.dispose()
    return database


class Done(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[list[str]]:
        """The cells of what was printed."""
        return [line.split("\t") for line in self.out.splitlines()]


@pytest.fixture
def investigate(database: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command in this process, its output piped."""

    def call(*arguments: str) -> Done:
        status = run([*arguments])
        return Done(status, *capsys.readouterr())

    return call


@pytest.fixture
def on(investigate: Callable[..., Done], database: Path) -> Callable[..., Done]:
    """The same, on the database."""
    return lambda *arguments: investigate(*arguments, "--db", str(database))


def clean_environment(**more: str) -> dict[str, str]:
    """Without what changes colours, widths or stores."""
    changing = ("INVESTIGATION_", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "TTY_", "CLICOLOR")
    return {name: value for name, value in os.environ.items() if not name.startswith(changing)} | more


@pytest.fixture
def process(database: Path) -> Callable[..., Done]:
    """The command as a process of its own."""

    def call(*arguments: str, **environment: str) -> Done:
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=database.parent,
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return call
