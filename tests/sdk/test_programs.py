"""Programs of users, as they were written before the SDK was: each runs as it stands."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from investigation_sdk import InvestigationSDK, InvestigationState, ToolState

DATA = Path(os.environ.get("INVESTIGATION_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
PROGRAMS = DATA.parent / "surface" / "programs"
MakeSDK = Callable[[str], InvestigationSDK]

SETTINGS = """[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""

LONG = 120
"""Seconds for one of them, on a machine that has much else to do."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With copies of the programs."""
    for name in ("p1_sync.py", "p2_fraud_async.py", "p6_test_fraud.py"):
        if not (PROGRAMS / name).is_file():
            pytest.skip(f"{PROGRAMS / name} is not there; INVESTIGATION_TEST_DATA names the folder beside it")
        shutil.copy(PROGRAMS / name, tmp_path)
    return tmp_path


def run(folder: Path, *command: str) -> str:
    """What it printed; it must end well, and without a warning."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_a_script_with_six_lines_more(folder: Path, make_sdk: MakeSDK) -> None:
    assert [run(folder, "p1_sync.py", "42") for _ in range(2)] == ["0.91\n", "0.91\n"]
    sdk = make_sdk(f"sqlite:///{folder}/fraud.db").sync
    (record,) = sdk.list()
    assert (record.key, record.status, record.result) == ("ato-42", InvestigationState.COMPLETED, 0.91)
    assert [(call.tool_name, call.result_summary) for call in sdk.tools(record.id)] == [
        ("lookup_account", None),
        ("score", "risk 0.91"),
    ]
    assert sdk.verify(record.id).ok


def test_many_agents(folder: Path, make_sdk: MakeSDK) -> None:
    assert run(folder, "p2_fraud_async.py") == "2000 tokens, $0.002036\n"
    sdk = make_sdk(f"sqlite:///{folder}/fraud.db").sync
    (record,) = sdk.list()
    assert (record.status, record.result) == (InvestigationState.COMPLETED, "fraud")
    assert {p.phase_name: p.status for p in sdk.phases(record.id)} == dict.fromkeys(
        ("device_analysis", "network_analysis", "log_analysis", "verdict"), "completed"
    )
    calls = sdk.tools(record.id)
    assert sorted(call.tool_name for call in calls if call.status is ToolState.COMPLETED) == [
        *("fingerprint", "fingerprint", "model.verdict", "search_logs", "vpn_detection")
    ]
    (failed,) = (call for call in calls if call.status is ToolState.FAILED)
    assert failed.tool_name == "ip_geolocation"
    (search,) = (call for call in calls if call.tool_name == "search_logs")
    assert search.agent_name == "log_agent"
    assert "account:42" not in str(search.input_parameters)


def test_tests_of_a_user(folder: Path) -> None:
    (folder / "pytest.ini").write_text(SETTINGS, encoding="utf-8")
    told = run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "p6_test_fraud.py")
    assert "3 passed" in told
