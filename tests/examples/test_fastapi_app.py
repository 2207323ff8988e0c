"""The service with the mounted API, under a real server in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
LONG = 60


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "fastapi_app:app"]
    told = {
        "INVESTIGATION_URL": f"sqlite:///{tmp_path / 'accounts.db'}",
        "INVESTIGATION_EXAMPLE_TOKENS": "t1=gil:operator,t2=vera:viewer",
    }
    log = tmp_path / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(command, env={**os.environ, **told}, stdout=out, stderr=out) as process,
    ):
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LONG) as client:
                until = time.monotonic() + LONG
                while True:
                    try:
                        client.get("/fraud/ready")
                        break
                    except httpx.TransportError:
                        if process.poll() is not None or time.monotonic() > until:
                            pytest.fail(f"the service does not answer: {log.read_text()[-2000:]}")
                        time.sleep(0.1)
                yield client
        finally:
            process.terminate()
            try:
                process.wait(LONG)
            except subprocess.TimeoutExpired:
                process.kill()
                pytest.fail("the service does not end")


def test_an_alert_is_investigated_and_read_through_the_mounted_api(service: httpx.Client) -> None:
    operator, viewer = {"Authorization": "Bearer t1"}, {"Authorization": "Bearer t2"}
    assert service.post("/alerts/42").status_code == 401
    assert service.get("/fraud/investigations").status_code == 401
    begun = service.post("/alerts/42", headers=operator)
    assert begun.status_code == 202, begun.text
    id = begun.json()["id"]
    until = time.monotonic() + LONG
    while (record := service.get(f"/fraud/investigation/{id}", headers=viewer).json())["status"] != "completed":
        assert time.monotonic() < until, record["status"]
        time.sleep(0.1)
    assert (record["user_id"], record["result"]) == ("gil", {"devices": 2})
    assert service.get(f"/fraud/investigation/{id}/progress", headers=viewer).json()["overall_progress"] == 100
    assert service.post(f"/fraud/investigation/{id}/cancel", headers=viewer).status_code == 403
    refused = service.post(f"/fraud/investigation/{id}/cancel", headers=operator)
    assert (refused.status_code, refused.json()["current"]) == (409, "completed")
