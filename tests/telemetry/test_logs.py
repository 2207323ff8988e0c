"""The log: one tree of loggers, the id of the investigation in each record, nothing secret, and quiet."""

import ast
import contextlib
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import investigation_backends
import investigation_sdk
from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.telemetry.monitor import Monitor
from tests.telemetry.collected import Collected

ROOT = Path(__file__).parents[2]
PACKAGES = [Path(package.__path__[0]) for package in (investigation_sdk, investigation_backends)]
SOURCES = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]
HOWTO = ROOT / "docs" / "howto" / "see-it-in-opentelemetry.md"


def calls_in(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Each call of a method in a file, and its place."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield f"{path}:{node.lineno}", node


def test_there_is_one_tree_of_loggers() -> None:
    named = {
        node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else where
        for path in SOURCES
        for where, node in calls_in(path)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "getLogger"
    }
    assert len(named) > 5
    assert not {name for name in named if not str(name).startswith("investigation_sdk.")}


def test_what_is_logged_of_one_investigation_has_its_id() -> None:
    found = 0
    for path in SOURCES:
        for where, node in calls_in(path):
            assert isinstance(node.func, ast.Attribute)
            logs = isinstance(node.func.value, ast.Name) and node.func.value.id == "_log"
            text = "".join(str(part.value) for arg in node.args[:1] for part in ast.walk(arg) if hasattr(part, "value"))
            if logs and re.search(r"investigation %s", text, re.IGNORECASE):
                found += 1
                assert "extra" in {keyword.arg for keyword in node.keywords}, f"{where} says no investigation_id"
    assert found > 10


QUIET = """
import asyncio, sys
from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.telemetry.monitor import Monitor

@tool(effect="unsafe")
async def double(n):
    return 2 * n

async def main():
    async with InvestigationSDK(sys.argv[1]) as sdk, Monitor(sdk):
        async with sdk.investigation("s", key="k") as investigation, investigation.phase("p"):
            await asyncio.gather(*map(double, range(20)))
            await investigation.checkpoint({"at": 1})
        made = await sdk.service.create_investigation("gil", "s", "fraud")
        await sdk.service.cancel(made.id, "not needed")

asyncio.run(main())
"""


def test_it_is_quiet_where_all_is_well(sqlite_url: str) -> None:
    """Nobody has set up logging: Python shows warnings on stderr, and there are none."""
    command = [sys.executable, "-X", "dev", "-c", QUIET, sqlite_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # in development mode asyncio names what holds up a loop for 0.1 s, which on a loaded machine anything may
    told = [line for line in done.stderr.splitlines() if not re.match(r"Executing <.*> took [0-9.]+ seconds$", line)]
    assert (done.returncode, done.stdout, told[-20:]) == (0, "", [])


@tool(sensitive=["password"], summary=lambda value: value["missing"])
def log_in(user: str, password: str) -> dict[str, str]:
    if user == "eve":
        raise PermissionError(f"{password} is not eve's")
    return {"user": user}


async def test_secrets_are_in_no_record(
    make_sdk: Callable[..., InvestigationSDK], sqlite_url: str, otel: Collected, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sdk = make_sdk(sqlite_url, telemetry=otel.options(capture_content=True))

    @sdk.service.on_state()
    def broken(record: Any, event: Any) -> None:
        raise LookupError("the hook")

    with contextlib.suppress(PermissionError):
        async with sdk.investigation("s") as investigation:
            log_in("ann", "hunter2")
            log_in("eve", "hunter2")
    await sdk.flush()
    async with Monitor(sdk) as monitor:
        await monitor.look()
    await sdk.aclose()
    shown = io.StringIO()
    handler = logging.StreamHandler(shown)
    handler.setFormatter(
        logging.Formatter("%(name)s %(message)s %(investigation_id)s", defaults={"investigation_id": ""})
    )
    for record in caplog.records:
        handler.handle(record)
    text = shown.getvalue()
    assert "investigation_sdk.hooks A hook on failed failed." in text
    assert f"firing: Investigation {investigation.id}" in text
    assert "hunter2" not in text + str([record.__dict__ for record in caplog.records])


def test_the_recipe_for_structlog(capsys: pytest.CaptureFixture[str]) -> None:
    block = next(
        b for b in re.findall(r"```python\n(.*?)```", HOWTO.read_text(encoding="utf-8"), re.DOTALL) if "structlog" in b
    )
    logger = logging.getLogger("investigation_sdk")
    before = list(logger.handlers)
    try:
        exec(compile(block, HOWTO.name, "exec"), {})  # noqa: S102 - of this repository's documentation
        logging.getLogger("investigation_sdk.engine").warning("Stale: %s", 1, extra={"investigation_id": "an id"})
    finally:
        logger.handlers[:] = before
    assert json.loads(capsys.readouterr().err) == {
        "event": "Stale: 1",
        "level": "warning",
        "logger": "investigation_sdk.engine",
        "investigation_id": "an id",
    }
