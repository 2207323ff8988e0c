"""The program of a service, as a user writes it: its own endpoints and sockets beside the mounted ones, on servers."""

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedOK

from investigation_sdk.testing.servers import RedisServer
from investigation_sdk.testing.servers.process import free_port

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

PROGRAM = Path(os.environ.get("INVESTIGATION_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
PROGRAM = PROGRAM.parent / "surface" / "programs" / "p4_fastapi.py"
LONG = 60.0
GIL = {"Authorization": "gil"}


class Service:
    """The program in a process of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=GIL, timeout=LONG)
        self.environment = {**os.environ, "PYTHONPATH": str(folder)}

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + LONG
        while True:
            try:
                ready = self.http.get("/fraud/ready")
                assert ready.json() == {"status": "ok", "hearing": "redis", "deaf": None}, ready.text
                return
            except (httpx.TransportError, AssertionError) as error:
                if process.poll() is not None or time.monotonic() > end:
                    log = (self.folder / "log").read_text(errors="replace")
                    pytest.fail(f"the service is not ready: {error}\n{log[-3000:]}")
                time.sleep(0.1)

    async def watched(self, path: str, headers: dict[str, str] | None = None) -> list[int]:
        """The sequences of all events, to the end of the investigation."""
        found: list[int] = []
        url = f"ws://127.0.0.1:{self.port}{path}"
        async with asyncio.timeout(LONG), connect(url, additional_headers=headers, open_timeout=LONG) as connection:
            try:
                while True:
                    message = json.loads(await connection.recv())
                    found += [message["sequence"]] if "sequence" in message else []
            except ConnectionClosedOK:
                return found

    def stored(self, id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self.http.get(f"/fraud/investigation/{id}/events?limit=1000").json()
        return events

    def over(self, id: str) -> dict[str, Any]:
        """Its progress, once it is over."""
        end = time.monotonic() + LONG
        while True:
            progress: dict[str, Any] = self.http.get(f"/alerts/{id}/progress").json()
            if progress["status"] == "completed":
                return progress
            assert time.monotonic() < end, f"it is not over: {progress}"
            time.sleep(0.05)


@pytest.fixture
def service(tmp_path: Path, redis_server: RedisServer, postgres_store: str) -> Iterator[Service]:
    if not PROGRAM.is_file():
        pytest.skip(f"{PROGRAM} is not there; INVESTIGATION_TEST_DATA names the folder beside it")
    text = PROGRAM.read_text(encoding="utf-8")
    for there, here in (("postgresql://localhost/fraud", postgres_store), ("redis://localhost", redis_server.url)):
        assert there in text
        text = text.replace(there, here)
    (tmp_path / "p4_fastapi.py").write_text(text, encoding="utf-8")
    service = Service(tmp_path, free_port())
    command = [sys.executable, "-m", "uvicorn", "--port", str(service.port), "p4_fastapi:app"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=service.environment, stdout=log, stderr=log)
    try:
        service.wait(process)
        yield service
    finally:
        service.http.close()
        process.terminate()
        try:
            process.wait(LONG)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail("the service does not end")


async def test_an_alert_is_investigated_watched_and_read(service: Service) -> None:
    http, alert = service.http, {"account": "42", "device": "d-17"}
    begun = http.post("/alerts", json=alert)
    assert begun.status_code == 202, begun.text
    id = begun.json()["id"]
    assert http.post("/alerts", json=alert).json()["id"] == id, "one key, one investigation"
    own = service.watched(f"/alerts/{id}/ws?token=vera")
    mounted = service.watched(f"/fraud/investigation/{id}/ws?after=2", GIL)
    seen, seen_behind = await asyncio.gather(own, mounted)
    progress = service.over(id)
    assert [(phase["name"], phase["status"]) for phase in progress["phases"]] == [
        ("device_analysis", "completed"),
        ("verdict", "completed"),
    ]
    assert progress["overall_progress"] == 100
    assert [call["tool"] for call in progress["tool_executions"]] == ["fingerprint"]
    sequences = [event["sequence"] for event in service.stored(id)]
    assert seen == sequences
    assert seen_behind == sequences[2:]
    record = http.get(f"/fraud/investigation/{id}").json()
    assert (record["user_id"], record["result"]) == ("gil", {"fraud": True, "device": {}})


def test_what_is_refused_says_what_is_allowed(service: Service) -> None:
    http = service.http
    id = http.post("/alerts", json={"account": "7", "device": "d"}).json()["id"]
    service.over(id)
    conflict = http.post(f"/alerts/{id}/pause?reason=x")
    assert (conflict.status_code, conflict.json()) == (409, {"current": "completed", "allowed": []})
    nowhere = str(uuid.uuid4())
    assert (http.get(f"/alerts/{nowhere}/progress").json(), http.post(f"/alerts/{id}/explode").status_code) == (
        {"id": nowhere},
        404,
    )
    assert httpx.get(f"{http.base_url}/alerts/{id}/progress", timeout=LONG).status_code == 422
    own_problem = http.post(f"/fraud/investigation/{id}/pause")
    assert (own_problem.status_code, own_problem.json()["current"]) == (409, "completed")


async def test_what_another_process_drives_is_watched_here(service: Service) -> None:
    """All of it, by one who was there before it began."""
    url = f"ws://127.0.0.1:{service.port}/fraud/investigations/ws?investigation_type=account_takeover"
    command = [sys.executable, "-c", "import asyncio, p4_fastapi as p; print(asyncio.run(p.without_a_worker('9')))"]
    async with connect(url, additional_headers=GIL, open_timeout=LONG) as watching:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=service.folder, env=service.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            async with asyncio.timeout(LONG):
                out, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, errors.decode()[-3000:]
        id = out.decode().strip()
        seen: list[int] = []
        async with asyncio.timeout(LONG):
            while not seen or seen[-1] < len(service.stored(id)):
                message = json.loads(await watching.recv())
                seen += [message["sequence"]] if message.get("investigation_id") == id and "sequence" in message else []
    assert seen == list(range(1, len(seen) + 1))
    assert service.stored(id)[-1]["sequence"] == len(seen)
