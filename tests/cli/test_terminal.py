"""The command as people meet it: a process, on a terminal of 80 columns, in a pipe, interrupted, not installed."""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from investigation_backends.sql.names import REVISIONS
from investigation_sdk import InvestigationSDK
from tests.cli.conftest import COMMAND, Done, Ids, clean_environment

pty = pytest.importorskip("pty", reason="no terminals of this kind here")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
Run = Callable[..., Done]


class Seen(Done):
    """What a terminal was sent; its two streams are one."""

    @property
    def plain(self) -> list[str]:
        """Its lines, without colours."""
        return COLOUR.sub("", self.out).splitlines()


@pytest.fixture
def terminal(database: Path) -> Callable[..., Seen]:
    """The command on a terminal, `typed` being typed."""

    def call(*arguments: str, typed: str = "", columns: int = 80, **environment: str) -> Seen:
        import fcntl
        import struct
        import termios

        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        started = subprocess.Popen(
            [COMMAND, *arguments],
            cwd=database.parent,
            env=clean_environment(**{"TERM": "xterm-256color", **environment}),
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        os.write(leader, typed.encode())
        seen = b""
        while True:
            if not select.select([leader], [], [], 60)[0]:
                started.kill()
                raise TimeoutError(seen)
            try:
                part = os.read(leader, 65536)
            except OSError:  # all ends of it are closed
                break
            if not part:
                break
            seen += part
        os.close(leader)
        return Seen(started.wait(60), seen.decode().replace("\r\n", "\n"), "")

    return call


@pytest.mark.parametrize("command", ["ls", "show", "tools", "events", "verify"])
def test_a_table_fits_80_columns_and_shortens_visibly(terminal: Callable[..., Seen], ids: Ids, command: str) -> None:
    done = terminal(command, *([] if command == "ls" else ["case-981"]), "--db", "fraud.db")
    assert done.status == 0
    assert COLOUR.search(done.out)
    assert not COLOUR.sub("", done.out).replace("\n", "").replace("…", "").count("\x1b")
    assert all(len(line) <= 80 for line in done.plain)
    if command == "ls":
        assert done.plain[0].split() == ["ID", "STATUS", "DONE", "AGE", "TOOK", "KEY", "SUBJECT"]
        assert done.plain[1].startswith(f"{ids.queued[:13]}  queued")
        assert done.plain[1].rstrip().endswith("…")
        assert "\x1b[32mcompleted\x1b[0m" in done.out
        assert "\x1b[31mfailed   \x1b[0m" in done.out


def test_a_wide_terminal_shortens_nothing(terminal: Callable[..., Seen]) -> None:
    done = terminal("ls", "--db", "fraud.db", columns=300)
    assert ("A subject " + "that is long " * 10).strip() in done.out
    assert "…" not in done.out


@pytest.mark.parametrize(
    ("columns", "titles"),
    [
        (30, "ID STATUS SUBJECT"),
        (60, "ID STATUS DONE AGE KEY SUBJECT"),
        (120, "ID STATUS DONE AGE TOOK TYPE KEY SUBJECT"),
        (200, "ID STATUS DONE AGE TOOK TYPE USER KEY SUBJECT"),
    ],
)
def test_columns_come_with_the_width(terminal: Callable[..., Seen], columns: int, titles: str) -> None:
    done = terminal("ls", "--db", "fraud.db", columns=columns)
    assert done.plain[0].split() == titles.split()
    assert all(len(line) <= columns for line in done.plain)


def test_a_long_table_comes_in_parts(terminal: Callable[..., Seen], database: Path) -> None:
    with InvestigationSDK(f"sqlite:///{database}") as sdk, sdk.investigation("long", key="long") as investigation:
        for n in range(250):
            investigation.record("a" if n < 150 else "a.longer.type", {"n": n})
    done = terminal("events", "long", "--all", "--db", "fraud.db")
    assert done.plain[0].split() == ["SEQ", "TIME", "EVENT", "WHAT"]
    numbers = [line.split()[0] for line in done.plain[1:]]
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)], "one heading, each event once"
    assert len(numbers) > 250
    assert all(len(line) <= 80 for line in done.plain)


def test_show_on_a_terminal_names_the_next_commands(terminal: Callable[..., Seen]) -> None:
    done = terminal("show", "case-981", "--db", "fraud.db")
    assert done.plain[-3:] == [f"investigate {verb} case-981 --db fraud.db" for verb in ("tools", "events", "verify")]
    assert "ago" in done.out


def test_hostile_text_on_a_terminal(terminal: Callable[..., Seen], ids: Ids) -> None:
    for command in ("ls", "show", "tools", "events"):
        done = terminal(command, *([] if command == "ls" else [ids.failed]), "--db", "fraud.db", columns=400)
        assert done.status == 0
        assert "\x1b" not in COLOUR.sub("", done.out), "colours are all that is sent"
        assert "\u202e" not in done.out
        assert "\\x1b]0;pwned" in done.out
        assert "\x1b[31mann" not in done.out
        if command != "tools":
            assert "[red]evil[/red]" in COLOUR.sub("", done.out)
            assert ":smile:" in done.out


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colours_where_they_are_not_wanted(terminal: Callable[..., Seen], name: str, value: str) -> None:
    done = terminal("ls", "--db", "fraud.db", **{name: value})
    assert done.status == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", done.out)
    assert done.plain[0].split()[:2] == ["ID", "STATUS"]


def test_a_bar_while_it_takes_long(terminal: Callable[..., Seen], database: Path) -> None:
    with InvestigationSDK(f"sqlite:///{database}") as sdk, sdk.investigation("long", key="long") as investigation:
        for n in range(2500):
            investigation.record("n", {"n": n})
    done = terminal("verify", "long", "case-981", "--db", "fraud.db")
    assert done.status == 0
    assert "verifying" in done.out
    assert "\x1b[2K" in done.out, "it is wiped away at the end"
    assert re.fullmatch(r"2 investigations, 2,\d{3} events, none broken", done.plain[-1])
    quick = terminal("verify", "case-981", "--db", "fraud.db")
    assert "verifying" not in quick.out
    assert [line.split()[0] for line in quick.plain] == ["chain", "id", "events", "head"]
    assert len(quick.plain[3].split()[1]) == 64


def test_an_upgrade_asks_on_a_terminal(terminal: Callable[..., Seen], database: Path) -> None:
    (database.parent / "empty.db").touch()
    done = terminal("db", "upgrade", "--db", "empty.db", typed="n\n")
    assert done.status == 0
    assert "There is no way back but a backup." in done.out
    assert "Upgrade? [y/N]: " in done.out
    assert done.plain[-1].endswith("Nothing was changed.")
    assert (database.parent / "empty.db").stat().st_size == 0
    assert terminal("db", "upgrade", "--db", "empty.db", typed="\x04").status == 130
    done = terminal("db", "upgrade", "--db", "empty.db", typed="y\n")
    assert done.plain[-1].endswith(f"Upgraded to schema {REVISIONS[-1]}: none of ours is there yet.")


# ---- pipes and processes


def test_a_pipe_gets_no_colours_whatever_is_forced(process: Run) -> None:
    for environment in ({"FORCE_COLOR": "1", "COLUMNS": "20"}, {"NO_COLOR": "1"}, {}):
        done = process("ls", "--db", "fraud.db", **environment)
        assert done.status == 0
        assert "\x1b" not in done.out
        assert "…" not in done.out
        assert all(line.count("\t") == 9 for line in done.out.splitlines())


def test_an_encoding_that_lacks_characters(process: Run) -> None:
    done = process("ls", "--db", "fraud.db", PYTHONIOENCODING="ascii")
    assert done.status == 0
    assert "\\u65e5\\u672c\\u8a9e" in done.out


def test_a_pipe_that_is_closed_early(database: Path) -> None:
    with InvestigationSDK(f"sqlite:///{database}") as sdk, sdk.investigation("long", key="long") as investigation:
        for _ in range(3000):
            investigation.record("n", {"text": "x" * 100})
    for form in ([], ["--json"]):
        started = subprocess.Popen(
            [COMMAND, "events", "long", "--all", "--db", "fraud.db", *form],
            cwd=database.parent,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.readline()
        started.stdout.close()
        assert started.stderr.read() == b""
        assert started.wait(60) == 141
        started.stderr.close()


def test_an_interrupt_is_quiet(database: Path) -> None:
    with InvestigationSDK(f"sqlite:///{database}") as sdk, sdk.investigation("long", key="long") as investigation:
        for _ in range(3000):
            investigation.record("n", {"text": "x" * 100})
    interrupted(database, "events", "long", "--all", "--json")


def test_an_interrupted_verification_leaves_nothing(database: Path) -> None:
    with InvestigationSDK(f"sqlite:///{database}") as sdk, sdk.investigation("long", key="long") as investigation:
        for _ in range(4000):
            investigation.record("n", {})
    interrupted(database, "verify", *["long"] * 100)


def interrupted(database: Path, *arguments: str) -> None:
    """Run the command until it prints, and interrupt it."""
    started = subprocess.Popen(
        [COMMAND, *arguments, "--db", "fraud.db"],
        cwd=database.parent,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert started.stdout is not None
    assert started.stderr is not None
    assert started.stdout.readline()
    assert started.poll() is None, "it is at work"
    started.send_signal(signal.SIGINT)
    started.stdout.read()
    assert started.wait(60) == 130
    assert started.stderr.read() == b""
    started.stdout.close()
    started.stderr.close()
    assert [path.name for path in database.parent.iterdir()] == ["fraud.db"]


def test_version(process: Run) -> None:
    from importlib.metadata import version

    assert process("--version") == (0, f"investigate {version('investigation-sdk')}\n", "")


def test_the_module_is_the_command(database: Path, ids: Ids) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "investigation_sdk", "ls", "--db", "fraud.db"],
        cwd=database.parent, env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert ids.completed in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_what_to_run(missing: str, tmp_path: Path) -> None:
    hide = f"u.find_spec = lambda n, p=None: None if n == {missing!r} else f(n, p)"
    code = f"import importlib.util as u; f = u.find_spec; {hide}\nfrom investigation_sdk.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code, "ls"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "investigate is not installed yet; run: pip install 'investigation-sdk[cli]'\n"


def test_help_loads_neither_the_sdk_nor_tables() -> None:
    code = "import sys\nfrom investigation_sdk.cli.app import run\nrun(['show', '--help'])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "click" in loaded
    assert not loaded & {"rich", "pydantic", "sqlalchemy", "asyncio", "investigation_sdk.sdk", "investigation_backends"}


def test_completion_of_the_shell(process: Run) -> None:
    done = process(_INVESTIGATE_COMPLETE="bash_complete", COMP_WORDS="investigate ve", COMP_CWORD="1")
    assert done.out == "plain,verify\n"
