"""`investigate progress`: how far one is, once, and until it ends."""

import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from investigation_sdk import InvestigationSDK, PhasePlan, tool
from tests.cli.conftest import COMMAND, Done, Ids

Investigate = Callable[..., Done]


def test_one_that_is_done(investigate: Investigate, ids: Ids, database: Path) -> None:
    done = investigate("progress", "case-981", "--db", "fraud.db")
    assert done.status == 0
    assert done.lines[0] == ["account 42 taken over"]
    assert ["done", "100%"] in done.lines
    assert ["status", "completed"] in done.lines
    assert [line[:3] for line in done.lines if line[0] in ("device", "net")] == [
        ["device", "completed", "100%"],
        ["net", "completed", "100%"],
    ]
    said = json.loads(investigate("progress", ids.completed, "--db", "fraud.db", "--json").out)
    assert (said["overall_progress"], said["tool_calls"]) == (100, 4)
    assert [change["to"] for change in said["state_transitions"]][-1] == "completed"


def test_one_that_runs(investigate: Investigate, tmp_path: Path) -> None:
    @tool
    def look() -> None:
        """Finds nothing."""

    for _ in range(3):
        with (
            InvestigationSDK(f"sqlite:///{tmp_path}/runs.db") as sdk,
            sdk.investigation("x", phases=("a",)) as one,
            one.phase("a"),
        ):
            look()
    with InvestigationSDK(f"sqlite:///{tmp_path}/runs.db") as sdk:
        plan = PhasePlan("a", tools=("look", "see"))
        with sdk.investigation("now", key="k", phases=(plan, "b")) as one, one.phase("a"):
            look()
            sdk.sync.flush()
            done = investigate("progress", "k", "--db", f"{tmp_path}/runs.db")
    assert ["done", "25%"] in done.lines
    row = next(line for line in done.lines if line[0] == "a")
    assert (row[:3], row[-1]) == (["a", "running", "50%"], "see")


def test_watching_ends_with_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    with InvestigationSDK(url) as sdk:
        with sdk.investigation("x", key="k", phases=("a", "b")) as one, one.phase("a"):
            command = [str(COMMAND), "progress", "k", "--watch", "--db", url]
            watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            too_long = threading.Timer(60, watching.kill)
            too_long.start()
            assert watching.stdout is not None
            first = watching.stdout.readline()
        rest, _ = watching.communicate(timeout=60)
        too_long.cancel()
    assert first == "0%  running  a 0%\n"
    assert rest.splitlines()[-1] == "100%  completed"
    assert watching.returncode == 0


def test_one_that_is_not_there(investigate: Investigate, database: Path) -> None:
    done = investigate("progress", "nobody", "--db", "fraud.db")
    assert done.status == 2
    assert "nobody" in done.err
