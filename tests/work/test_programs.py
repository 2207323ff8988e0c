"""Programs as people would write them: an unsafe tool over HTTP that crashes, and a fleet of workers."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from investigation_sdk import InvestigationState
from investigation_sdk.cli.app import run

httpx = pytest.importorskip("httpx", reason="httpx is not installed: pip install 'investigation-sdk[test]'")

PROGRAMS = Path(__file__).parent / "programs"
DATA = Path(os.environ.get("INVESTIGATION_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
GIVEN = DATA.parent / "surface" / "programs"
"""As users wrote them, before the SDK was."""
LONG = 60.0


class World(ThreadingHTTPServer):
    """A bank and a ticket system."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.frozen: list[str] = []
        self.tickets: dict[str, str] = {}
        self.cuts_off_after_freezing = False
        self.bank_is_silent = False


class Handler(BaseHTTPRequestHandler):
    server: World

    def do_POST(self) -> None:
        world = self.server
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/freeze"):
            world.frozen.append(self.path.split("/")[-2])
            if world.cuts_off_after_freezing:
                self.close_connection = True
                return
            self.answer({})
        else:
            id = world.tickets.setdefault(self.headers["Idempotency-Key"], f"T-{len(world.tickets) + 1}")
            self.answer({"id": id, "title": given["title"]})

    def do_GET(self) -> None:
        if self.server.bank_is_silent:
            self.close_connection = True
            return
        self.answer({"frozen": self.path.split("/")[-1] in self.server.frozen})

    def answer(self, what: dict[str, Any]) -> None:
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Answers for ``https://bank`` and ``https://tickets``."""
    with World() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        class Client(httpx.AsyncClient):  # type: ignore[name-defined]
            async def request(self, method: str, url: str, **options: Any) -> Any:
                path = httpx.URL(url).raw_path.decode()
                return await super().request(method, f"http://127.0.0.1:{server.server_port}{path}", **options)

        monkeypatch.setattr(httpx, "AsyncClient", Client)
        yield server
        server.shutdown()


@pytest.fixture(params=[PROGRAMS, GIVEN], ids=["ours", "given"])
def crash(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    program = request.param / "p5_crash.py"
    if not program.is_file():
        pytest.skip(f"{program} is not there; INVESTIGATION_TEST_DATA names the folder beside it")
    spec = importlib.util.spec_from_file_location("p5_crash", program)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.sdk.sync.close()


async def test_it_runs_once(crash: Any, world: World) -> None:
    await crash.main("a-1")
    await crash.main("a-1")
    assert world.frozen == ["a-1"]
    assert list(world.tickets.values()) == ["T-1"]
    case = await crash.sdk.find(key="a-1")
    assert (case.status, case.result) == (InvestigationState.COMPLETED, "T-1")


async def test_cut_off_it_asks_the_bank_and_freezes_once(crash: Any, world: World) -> None:
    world.cuts_off_after_freezing = True
    with pytest.raises(httpx.RemoteProtocolError):
        await crash.main("a-1")
    world.cuts_off_after_freezing = False
    await crash.main("a-1")
    assert world.frozen == ["a-1"], "reconcile saw that it had happened"
    assert list(world.tickets.values()) == ["T-1"]
    assert (await crash.sdk.find(key="a-1")).result == "T-1"


async def test_where_the_bank_cannot_say_somebody_is_asked(
    crash: Any, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.cuts_off_after_freezing = world.bank_is_silent = True
    with pytest.raises(httpx.RemoteProtocolError):
        await crash.main("a-1")
    await crash.main("a-1")
    asked, resolve, call_id, *_ = capsys.readouterr().out.split()
    assert (asked, resolve) == ("investigate", "resolve")
    assert (await crash.sdk.find(key="a-1")).status == InvestigationState.PAUSED
    await crash.operator_resolves(call_id)
    await crash.main("a-1")
    assert world.frozen == ["a-1"]
    assert (await crash.sdk.find(key="a-1")).status == InvestigationState.COMPLETED


@pytest.mark.server
def test_a_fleet(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command line, as in a deployment; and by ``python program.py``."""
    monkeypatch.setenv("FLEET_URL", sqlite_url)
    spec = importlib.util.spec_from_file_location("p7_fleet", PROGRAMS / "p7_fleet.py")
    assert spec is not None
    assert spec.loader is not None
    fleet: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fleet)
    id = fleet.produce()
    assert fleet.produce() == id
    commands = (
        [sys.executable, "-m", "investigation_sdk", "worker", "p7_fleet:sdk", "--limit", "phishing=2"],
        [sys.executable, "p7_fleet.py"],
    )
    workers = [
        subprocess.Popen(command, cwd=PROGRAMS, env=os.environ, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    try:
        assert fleet.sdk.sync.wait(id, timeout=LONG).result == "x"
        taken = fleet.sdk.sync.submit("account_takeover", "42")
        assert fleet.sdk.sync.wait(taken.id, timeout=LONG).status == InvestigationState.COMPLETED
        assert fleet.report_now(id) == 100
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            _, said = worker.communicate(timeout=LONG)
            assert worker.returncode == 0, said
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.communicate(timeout=LONG)
        fleet.sdk.sync.close()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("p7_fleet", "p7_fleet is not MODULE:NAME, such as fraud.main:sdk"),
        ("nowhere.at_all:sdk", "there is no module nowhere; is "),
        ("p7_fleet:phishing", "p7_fleet:phishing is function, and should be an InvestigationSDK"),
        ("p7_fleet:sd", "p7_fleet:sd has no such name, and should be an InvestigationSDK"),
    ],
)
def test_what_the_command_line_refuses(
    program: str, message: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEET_URL", sqlite_url)
    monkeypatch.chdir(PROGRAMS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    try:
        assert run(["worker", program]) == 2
    finally:
        sys.modules.pop("p7_fleet", None)
    said = capsys.readouterr().err
    assert said.startswith(f"investigate: {message}")
    assert said.count("\n") == 1
