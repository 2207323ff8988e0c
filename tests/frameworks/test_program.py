"""A program that uses LangChain, LangGraph and pydantic-ai: checked as strictly as its author might, and run."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain", reason="langchain is not installed: run make test-frameworks")
pytest.importorskip("pydantic_ai", reason="pydantic-ai is not installed: run make test-frameworks")

from investigation_sdk import Effect, InvestigationSDK
from tests.frameworks.test_langchain import Scripted, asked, node

PROGRAM = Path(__file__).parent / "programs" / "p3_frameworks.py"
DATA = Path(os.environ.get("INVESTIGATION_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
GIVEN = DATA.parent / "surface" / "programs" / PROGRAM.name
"""As a user wrote it, before the SDK was."""


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_types(tmp_path: Path, checker: str) -> None:
    pytest.importorskip(checker)
    shutil.copy(PROGRAM, tmp_path)
    (tmp_path / "none.ini").write_text("[mypy]\n", encoding="utf-8")
    settings: dict[str, object] = {"include": ["."], "typeCheckingMode": "strict", "pythonVersion": "3.11"}
    settings |= dict.fromkeys(("reportUnknownMemberType", "reportUnknownVariableType"), "none")  # LangChain's own
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    options = {
        "mypy": ["--strict", "--config-file=none.ini", PROGRAM.name],
        "pyright": ["--pythonpath", sys.executable],
    }
    command = [sys.executable, "-m", checker, *options[checker]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(params=[PROGRAM, GIVEN], ids=["ours", "given"])
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    monkeypatch.chdir(tmp_path)  # its database is made here
    if not request.param.is_file():
        pytest.skip(f"{request.param} is not there; INVESTIGATION_TEST_DATA names the folder beside it")
    spec = importlib.util.spec_from_file_location("p3_frameworks", request.param)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    yield module
    module.sdk.sync.close()


def test_langchain_runs(program: Any) -> None:
    script = [[("whois", {"domain": "example.org"})]]
    program.run_langchain(Scripted(script=script), "who owns example.org?")
    sdk: InvestigationSDK = program.sdk
    (record,) = sdk.sync.list()
    assert (record.key, record.status, record.result) == ("lc-1", "completed", "done")
    (call,) = sdk.sync.tools(record.id, phase="agent")
    assert (call.agent_name, call.tool_name, call.output_result) == ("network_agent", "whois", "registrar: X")


async def test_its_unsafe_tool_runs(program: Any) -> None:
    sdk: InvestigationSDK = program.sdk
    async with sdk.investigation("freeze") as investigation:
        await node([program.freeze]).ainvoke(asked(("freeze", {"account_id": "42", "reason": "because"})))
        done = program.node  # a ToolNode of its own
    assert list(done.tools_by_name) == ["whois"]
    (call,) = await sdk.tools(investigation.id)
    assert (call.agent_name, call.effect, call.output_result) == ("bank", Effect.UNSAFE, "frozen")


async def test_pydantic_ai_runs(program: Any) -> None:
    answer = await program.run_pydantic_ai("is the device known?")
    sdk: InvestigationSDK = program.sdk
    (record,) = await sdk.list()
    assert (record.key, record.result) == ("pai-1", answer)
    assert record.usage.tokens_used > 0
    calls = {c.tool_name: c for c in await sdk.tools(record.id)}
    assert set(calls) == {"device_reputation", "sanctions"}
    assert set(calls["device_reputation"].input_parameters) == {"device_id"}
