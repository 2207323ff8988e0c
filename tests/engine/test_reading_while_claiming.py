"""What earlier attempts recorded is read while the claim is written: nothing that came before the claim is missed."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from investigation_sdk import InvestigationError, InvestigationSDK, tool
from investigation_sdk.engine.records import RecordReader
from investigation_sdk.storage.commit import Commit, CommitResult

SECONDS = 60

ran: list[int] = []
began, may_end = threading.Event(), threading.Event()


@tool(effect="idempotent")
def transfer(n: int) -> int:
    ran.append(n)
    if n == 2:
        began.set()
        assert may_end.wait(SECONDS), "nobody let the body end"
    return n


def work(sdk: InvestigationSDK, until: threading.Event | None = None) -> str:
    with sdk.investigation("account 42", key="k") as investigation:
        investigation.result = transfer(1) + transfer(2)
        assert until is None or until.wait(SECONDS), "nobody took over"
    return investigation.id


@pytest.mark.interpreted
def test_what_an_owner_records_between_the_reading_and_the_claim_is_found(
    lite: InvestigationSDK, other: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease of one that is at work runs out. Its call ends when the next one has read, and has not claimed yet."""
    ran.clear()
    began.clear()
    may_end.clear()
    backend: Any = lite._recorder.backend
    ended = asyncio.Event()
    read_on, commit = RecordReader.read_on, backend.commit
    taken_over = threading.Event()
    lost: list[BaseException] = []

    def stale() -> None:
        try:
            work(other, taken_over)
        except InvestigationError as error:
            lost.append(error)

    def let_it_end(id: str) -> None:
        may_end.set()
        ending = threading.Event()
        for _ in range(SECONDS * 100):
            if any(one.status == "completed" and one.input_parameters == {"n": 2} for one in other.sync.tools(id)):
                return
            ending.wait(0.01)
        raise AssertionError("the call did not end")

    async def read_then_end(self: RecordReader, *size: int) -> None:
        await read_on(self, *size)
        if not ended.is_set():
            await asyncio.wait_for(asyncio.to_thread(let_it_end, found.id), SECONDS)
            ended.set()

    async def commit_behind(commits: Sequence[Commit]) -> Sequence[CommitResult]:
        [one] = commits
        if one.expected_version and any(event.event_type == "investigation.claimed" for event in one.events):
            await asyncio.wait_for(ended.wait(), SECONDS)
        answers: Sequence[CommitResult] = await commit(commits)
        return answers

    owner = threading.Thread(target=stale)
    owner.start()
    try:
        assert began.wait(SECONDS), "the body did not begin"
        found: Any = other.sync.find(key="k")
        lite._recorder.call(_freed(backend, found.id))
        monkeypatch.setattr(RecordReader, "read_on", read_then_end)
        backend.commit = commit_behind
        assert work(lite) == found.id
    finally:
        may_end.set()
        taken_over.set()
        owner.join(SECONDS)
    assert not owner.is_alive()
    assert ended.is_set()
    assert ran == [1, 2], "both calls had ended, so neither runs again"
    assert lite.sync.get(found.id).result == 3
    assert lite.sync.verify(found.id).ok
    assert len(lost) == 1


async def _freed(backend: Any, id: str) -> None:
    lease = await backend.holder(id)
    assert await backend.release(lease)


def stopped(sdk: InvestigationSDK) -> None:
    with pytest.raises(RuntimeError), sdk.investigation("account 42", key="k"):
        assert transfer(1) == 1
        raise RuntimeError("stop")


def test_each_event_is_read_once(lite: InvestigationSDK) -> None:
    stopped(lite)
    read: list[int] = []
    backend: Any = lite._recorder.backend
    read_texts = backend.read_texts

    async def counting(*args: Any, **options: Any) -> Any:
        found = await read_texts(*args, **options)
        if "tool.started" in (options.get("event_type") or ()):
            read.extend(event.sequence for event in found)
        return found

    backend.read_texts = counting
    stopped(lite)
    assert (len(read), len(set(read))) == (2, 2)


RESUME = """
import sys
from investigation_sdk import InvestigationSDK, tool

@tool(effect="idempotent")
def transfer(n: int) -> int:
    return n

with InvestigationSDK(sys.argv[1], telemetry=False) as sdk, sdk.investigation("account 42", key="k") as again:
    assert transfer(1) == 1
print("sqlalchemy" in sys.modules)
"""


def test_a_resume_on_sqlite_does_not_import_sqlalchemy(lite: InvestigationSDK, sqlite_url: str) -> None:
    stopped(lite)
    command = [sys.executable, "-c", RESUME, sqlite_url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout == "False\n", "170 ms of each process that goes on with something"
    found = lite.sync.find(key="k")
    assert found is not None
    assert found.status == "completed"
