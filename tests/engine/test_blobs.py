"""Blobs on their way into the store: bounded, sent again with their events, let go of when they are durable."""

import gc
import tracemalloc
from collections.abc import AsyncIterator, Sequence

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_sdk import Durability, InvestigationSDK, tool
from investigation_sdk.domain.commands import Fact
from investigation_sdk.domain.events import Blob, Event
from investigation_sdk.engine.entries import FEW, MAX_BLOB_BYTES, Entry, fitting
from investigation_sdk.storage.commit import Commit, CommitResult, CommitStatus
from investigation_sdk.testing.faults import Fault, FaultyBackend, Plan

TEXT = "x" * 100_000


@tool
async def echo(text: str) -> str:
    return text


def entry(*sizes: int) -> Entry:
    made = Entry(Fact(Event("id", "note", {}, 0, text="{}"), None))
    made.decided([Event("id", "note", {}, 0, text="{}", blobs=tuple(Blob("d", bytes(size)) for size in sizes))])
    return made


def test_how_many_blobs_go_into_one_commit() -> None:
    assert entry(3, 4).blob_bytes == 7
    quarter = MAX_BLOB_BYTES // 4
    assert fitting([entry(quarter)] * 10, 10) == 4
    assert fitting([entry(quarter, quarter)] * 10, 10) == 2
    assert fitting([entry(2 * MAX_BLOB_BYTES)] * 3, 3) == 1, "one is always taken"
    assert fitting([entry(), entry(), entry(2 * MAX_BLOB_BYTES), entry()], 4) == 2
    assert fitting([entry(1)] * 3 * FEW, 3 * FEW) == 3 * FEW


class TooLarge(MemoryBackend):
    """It takes blobs up to 50,000 bytes, and says SIZE of a commit with a larger one."""

    async def commit(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        results: list[CommitResult] = []
        for commit in commits:
            if any(len(blob.data) > 50_000 for blob in commit.blobs):
                results.append(CommitResult(CommitStatus.SIZE, None, "a blob is too large for this store"))
            else:
                results += await super().commit([commit])
        return results


async def test_a_blob_that_the_store_does_not_take_gives_way_to_a_note() -> None:
    async with InvestigationSDK(TooLarge(writer=True)) as sdk:
        async with sdk.investigation("too large for this store") as run:
            assert await echo(TEXT) == TEXT
            assert await echo(TEXT[:40_000]) == TEXT[:40_000]
        first, second = await sdk.tools(run.id)
        for part in (first.input_parameters, first.output_result):
            assert "unstorable" in repr(part)
            assert "too large for this store" in repr(part)
        assert await sdk.payload(run.id, second.output_result) == TEXT[:40_000]
        warnings = [e.event_data for e in await sdk.events(run.id, event_type="recorder.warning")]
        assert {w["kind"] for w in warnings} == {"not_stored"}
        assert (await sdk.verify(run.id)).problems == []


@pytest.fixture
async def faulty() -> AsyncIterator[tuple[InvestigationSDK, FaultyBackend]]:
    backend = FaultyBackend(MemoryBackend(writer=True), Plan())
    async with InvestigationSDK(backend) as sdk:
        yield sdk, backend


@pytest.mark.parametrize("kind", ["lost_before", "lost_after", "twice", "not_applied"])
async def test_sent_again_a_commit_has_its_blobs(faulty: tuple[InvestigationSDK, FaultyBackend], kind: str) -> None:
    sdk, backend = faulty
    async with sdk.investigation("lost answers") as run:
        for n in range(1, 12):
            backend.plan.commits = {len(backend.batches) + 1: Fault(kind)}  # type: ignore[arg-type]
            assert await echo(f"{n}{TEXT}") == f"{n}{TEXT}"
        assert run._driver.session.queued_bytes == 0
    report = await sdk.verify(run.id)
    assert report.problems == []
    returned = [await sdk.payload(run.id, call.output_result) for call in await sdk.tools(run.id)]
    assert returned == [f"{n}{TEXT}" for n in range(1, 12)]


@pytest.mark.parametrize("durability", list(Durability))
async def test_what_is_durable_is_kept_by_nobody(sqlite_url: str, durability: Durability) -> None:
    """A session keeps phases and calls in flight, and not what is beside the log."""
    async with InvestigationSDK(sqlite_url, durability=durability) as sdk, sdk.investigation("lean") as run:
        await echo("warm")
        async with run.phase("warm"):
            pass
        assert await sdk.flush() == 0
        gc.collect()
        tracemalloc.start()
        try:
            async with run.phase("heavy", input_data={"text": TEXT * 20}) as phase:
                for n in range(5):
                    await echo(f"{n}{TEXT * 20}")
                await run.checkpoint(TEXT * 20)
                phase.output_data = "light"
            assert await sdk.flush() == 0
            session = run._driver.session
            assert (session.queued_events, session.queued_bytes) == (0, 0)
            gc.collect()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 3_000_000, "of 26 MB"
