"""Celery: a real worker, a real Redis, PostgreSQL; tasks that are delivered twice, and workers that are killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery
from opentelemetry.sdk.trace import TracerProvider

from investigation_sdk import ConfigurationError, InvestigationSDK, InvestigationState
from investigation_sdk.dispatch.celery import TASK, CeleryDispatcher
from investigation_sdk.testing.servers import RedisServer

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120


class Fleet:
    """A folder, a broker and a store, workers on them, and an SDK that submits."""

    def __init__(self, folder: Path, broker: str, store: str) -> None:
        self.folder = folder
        self.app = Celery("producer", broker=broker)
        self.environment = {**os.environ, "FLEET_FOLDER": str(folder), "FLEET_BROKER": broker, "FLEET_STORE": store}
        self.sdk = InvestigationSDK(store, dispatcher=CeleryDispatcher(self.app))
        self.log = folder / "worker.log"

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """A worker with two processes, in a process group of its own; killed at the end."""
        command = [
            sys.executable, "-m", "celery", "-A", "tests.dispatch.fleet", "worker", "-Q", "investigations", "-c", "2",
            "--loglevel", "INFO", "--without-gossip", "--without-mingle", "-n", f"w{time.monotonic_ns()}@%h",
        ]  # fmt: skip
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            self.kill(process)

    @staticmethod
    def kill(process: subprocess.Popen[bytes]) -> None:
        """SIGKILL for the worker and its processes."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(30)

    def submit(self, investigation_type: str, account: str) -> str:
        return self.sdk.sync.submit(investigation_type, account, configuration={"account": account}).id

    def ended(self, id: str) -> InvestigationState:
        """The state in which it ended."""
        try:
            return self.sdk.sync.wait(id, timeout=PATIENCE).status
        except TimeoutError:
            pytest.fail(f"it has not ended: {self.log.read_text(encoding='utf-8')[-4000:]}")

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def until(self, what: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < until, self.log.read_text(encoding="utf-8")[-4000:]
            time.sleep(0.05)


@pytest.fixture
def fleet(tmp_path: Path, redis_server: RedisServer, postgres_store: str) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, redis_server.url, postgres_store)
    fleet.app.control.purge()
    yield fleet
    fleet.sdk.sync.close()
    fleet.app.close()


@pytest.mark.server
def test_it_runs_what_is_submitted(fleet: Fleet) -> None:
    with TracerProvider().get_tracer("user").start_as_current_span("POST /cases") as request:
        ids = [fleet.submit("phishing", f"account {n}") for n in range(5)]
    with fleet.worker():
        assert [fleet.ended(id) for id in ids] == [InvestigationState.COMPLETED] * 5
    for id in ids:  # the worker's spans go on with the trace of who submitted
        created, started = (
            fleet.sdk.sync.events(id, event_type=f"investigation.{kind}")[0].metadata["trace"]["traceparent"].split("-")
            for kind in ("created", "started")
        )
        here = request.get_span_context()
        assert created[1:3] == [f"{here.trace_id:032x}", f"{here.span_id:016x}"]
        assert started[1] == created[1]
        assert started[2] != created[2]
    assert [fleet.sdk.sync.get(id).result for id in ids] == [f"receipt of account {n}" for n in range(5)]
    assert sorted(fleet.lines("charged")) == [f"account {n}" for n in range(5)]


@pytest.mark.server
def test_a_task_whose_process_is_killed_is_delivered_again_and_resumes(fleet: Fleet) -> None:
    id = fleet.submit("phishing", "kills its process")
    with fleet.worker():
        assert fleet.ended(id) is InvestigationState.COMPLETED
    assert fleet.lines("charged") == ["kills its process"]
    assert len(fleet.lines("looked")) == 2
    assert [call.attempt for call in fleet.sdk.sync.tools(id) if call.tool_name == "charge"] == [1]
    assert fleet.sdk.sync.verify(id).ok


@pytest.mark.server
def test_a_worker_that_is_killed_whole_is_succeeded_by_another(fleet: Fleet) -> None:
    ids = [fleet.submit("phishing", f"waits {n}") for n in range(2)]
    with fleet.worker() as first:
        fleet.until(lambda: len(fleet.lines("looked")) == 2)
        fleet.kill(first)
    assert {one.status for one in map(fleet.sdk.sync.get, ids)} == {InvestigationState.RUNNING}
    (fleet.folder / "go").touch()
    with fleet.worker():
        assert [fleet.ended(id) for id in ids] == [InvestigationState.COMPLETED] * 2
    assert sorted(fleet.lines("charged")) == ["waits 0", "waits 1"]


@pytest.mark.server
def test_a_task_that_is_delivered_many_times_is_done_once(fleet: Fleet) -> None:
    id = fleet.submit("phishing", "waits for all")
    for _ in range(6):
        fleet.app.send_task(TASK, args=[id], queue="investigations")
    with fleet.worker():
        fleet.until(lambda: "retry" in fleet.log.read_text(encoding="utf-8").lower())
        (fleet.folder / "go").touch()
        assert fleet.ended(id) is InvestigationState.COMPLETED
        fleet.app.send_task(TASK, args=[id], queue="investigations")
        fleet.until(lambda: fleet.log.read_text(encoding="utf-8").count("succeeded in") >= 3)
    assert fleet.lines("charged") == ["waits for all"]
    assert fleet.lines("looked") == ["waits for all"]


@pytest.mark.server
def test_a_soft_time_limit_interrupts_and_the_task_comes_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fleet.environment, "FLEET_SOFT_LIMIT", "2")
    ids = [fleet.submit(kind, "x") for kind in ("long", "long async")]
    with fleet.worker():
        assert [fleet.ended(id) for id in ids] == [InvestigationState.COMPLETED] * 2
    assert sorted(map(int, fleet.lines("stepped"))) == list(range(60)), "each step was done once"
    for id in ids:
        claims = list(fleet.sdk.sync.iter_events(id, event_type="investigation.claimed"))
        assert len(claims) >= 2
        assert not any("from" in claim.event_data for claim in claims), "it was let go of each time"
        interrupted = list(fleet.sdk.sync.iter_events(id, event_type="phase.interrupted"))
        assert len(interrupted) == len(claims) - 1
        assert fleet.sdk.sync.verify(id).ok


@pytest.mark.server
def test_a_retry_does_not_wait_for_the_thread_that_is_stuck(fleet: Fleet) -> None:
    id = fleet.submit("stuck", "x")
    with fleet.worker():
        fleet.until(lambda: fleet.sdk.sync.get(id).status is InvestigationState.COMPLETED)
        assert fleet.sdk.sync.get(id).result == 2
        (fleet.folder / "go").touch()
    assert len(set(fleet.lines("stuck"))) == 2, "in the other process, for the first one runs on"


@pytest.mark.server
def test_what_fails_is_tried_again_later(fleet: Fleet) -> None:
    id = fleet.submit("flaky", "x")
    with fleet.worker():
        fleet.until(lambda: fleet.sdk.sync.get(id).status is InvestigationState.COMPLETED)
    assert fleet.lines("tried") == [id] * 3
    assert fleet.sdk.sync.get(id).result == 3


def test_one_application_serves_one_sdk() -> None:
    app = Celery("twice", broker="memory://")
    with InvestigationSDK("memory://", dispatcher=CeleryDispatcher(app)):
        pass
    with pytest.raises(ConfigurationError, match="'twice' runs the investigations of another SDK object already"):
        InvestigationSDK("memory://", dispatcher=CeleryDispatcher(app))
    app.close()


def test_no_application() -> None:
    with pytest.raises(ConfigurationError, match="wants a Celery application, not str"):
        CeleryDispatcher("redis://localhost")


def test_a_broker_that_is_down_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    app = Celery("down", broker="redis://127.0.0.1:9/0")
    app.conf.broker_transport_options = {"max_retries": 0, "socket_connect_timeout": 1}
    app.conf.task_publish_retry = False
    with InvestigationSDK("memory://", dispatcher=CeleryDispatcher(app)) as sdk:

        @sdk.investigator("phishing")
        def phishing(running: object) -> str:
            return "done"

        one = sdk.sync.submit("phishing", "mail 17", key="mail-17")
        assert one.status is InvestigationState.QUEUED
        assert f"Investigation {one.id} is queued, and the dispatcher could not tell the engine" in caplog.text
        assert sdk.sync.submit("phishing", "mail 17", key="mail-17").id == one.id
    app.close()
