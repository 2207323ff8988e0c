"""The program of a fleet, as a user writes it: its queue, its cache, its hooks, on servers of this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from investigation_sdk import InvestigationSDK
from investigation_sdk.testing.servers import RedisServer
from tests.dispatch.test_celery import Fleet

PROGRAM = Path(os.environ.get("INVESTIGATION_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
PROGRAM = PROGRAM.parent / "surface" / "programs" / "p7_celery.py"

ASK = """
import p7_celery as fleet
id = fleet.produce()
assert fleet.produce() == id
print(id)
"""


@pytest.mark.server
def test_the_program_of_a_fleet(tmp_path: Path, redis_server: RedisServer, postgres_store: str) -> None:
    if not PROGRAM.is_file():
        pytest.skip(f"{PROGRAM} is not there; INVESTIGATION_TEST_DATA names the folder beside it")
    text = PROGRAM.read_text(encoding="utf-8")
    for there, here in (
        ("redis://redis/0", redis_server.url),
        ("redis://redis/1", redis_server.url),
        ("postgresql://db/fraud", postgres_store),
    ):
        assert there in text
        text = text.replace(there, here)
    (tmp_path / "p7_celery.py").write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ask = [sys.executable, "-c", ASK]
    asked = subprocess.run(ask, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert asked.returncode == 0, asked.stderr[-3000:]
    id = asked.stdout.strip()
    command = [sys.executable, "-m", "celery", "-A", "p7_celery", "worker", "-Q", "investigations", "-c", "1"]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            with InvestigationSDK(postgres_store) as sdk:
                done = sdk.sync.wait(id, timeout=100)
                assert (done.status.value, done.result, done.key) == ("completed", "x", "mail-17")
                assert [call.tool_name for call in sdk.sync.tools(id)] == ["whois"]
        finally:
            Fleet.kill(worker)
