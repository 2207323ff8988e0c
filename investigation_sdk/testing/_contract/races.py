"""What several do at the same time, to the same investigations: in tasks, and in processes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.backend import Backend, CommitNotApplied
from investigation_sdk.storage.commit import Commit, CommitResult, CommitStatus, Query, Where

from .building import Case, all_same
from .opening import ContractBase, OpenStore
from .processes import another_process, answer, answers

TTL = 600_000_000
_OF_A_BATCH = 5


async def patient(backend: Backend, batch: Sequence[Commit]) -> Sequence[CommitResult]:
    """Commit, again where nothing of it was applied."""
    while True:
        try:
            return await backend.commit(batch)
        except CommitNotApplied:
            await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311 - so that not all come back at once


async def append_batches(backend: Backend, ids: Sequence[str], times: int, note: str) -> dict[str, int]:
    """Append to some of the investigations in one batch, in any order, so often; how many events each got.

    A conflict is not tried again: somebody else was first.
    """
    applied = Counter[str]()
    for _ in range(times):
        rows = [await backend.get("investigation", id) for id in random.sample(ids, _OF_A_BATCH)]
        await asyncio.sleep(random.uniform(0, 0.002))  # noqa: S311 - for others to write meanwhile
        batch = [Case.of(row).commit(note) for row in rows if isinstance(row, InvestigationRow)]
        for commit, result in zip(batch, await patient(backend, batch), strict=True):
            assert result.status in (CommitStatus.APPLIED, CommitStatus.CONFLICT), f"a commit was answered {result}"
            applied[commit.investigation_id] += result.status is CommitStatus.APPLIED
    return dict(applied)


async def contend(backend: Backend, resource: str, key: str) -> dict[str, Any]:
    """Claim what others claim, under a name of one's own, and create what others create; what came of it."""
    case = Case(key=key)
    claimed = await backend.claim(resource, uuid7(), ttl=TTL) is not None
    (result,) = await patient(backend, [case.commit()])
    return {"claimed": claimed, "id": case.id, "status": result.status, "existing": result.existing_id}


async def _check_logs(store: OpenStore, cases: Sequence[Case], applied: dict[str, list[dict[str, int]]]) -> None:
    """Each log is dense, and has of each writer what it was told it has."""
    for case in cases:
        await store.version(case)
        found = Counter(event.event_type for event in await store.b.read_events(case.id))
        wanted = {note: sum(one.get(case.id, 0) for one in told) for note, told in applied.items()}
        assert {note: found[note] for note in wanted} == wanted, "an event that was acknowledged is not there, or twice"


class RaceTests(ContractBase):
    """Tasks, on two handles."""

    async def test_batches_of_tasks_overlap(self, store: OpenStore) -> None:
        cases = [Case() for _ in range(8)]
        for case in cases:
            await case.apply(store.a)
        ids = [case.id for case in cases]
        handles = (store.a, store.b)
        told = await asyncio.gather(*(append_batches(handles[n % 2], ids, 5, f"task-{n}") for n in range(8)))
        await _check_logs(store, cases, {f"task-{n}": [one] for n, one in enumerate(told)})
        assert sum(sum(one.values()) for one in told) >= len(ids), "of all these batches hardly a commit was applied"

    async def test_a_deletion_is_of_what_was_looked_at(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a)
        deleted: list[int] = []

        async def delete() -> None:
            while not deleted:
                row = await store.b.get("investigation", case.id)
                assert isinstance(row, InvestigationRow)
                if await store.b.delete([(case.id, row.version)]):
                    deleted.append(row.version)
                await asyncio.sleep(random.uniform(0, 0.001))  # noqa: S311

        async with asyncio.TaskGroup() as tasks:
            deleting = tasks.create_task(delete())
            for _ in range(200):  # then it is left alone, and the deletion comes through
                if deleting.done():
                    break
                commit = case.commit()
                (result,) = await patient(store.a, [commit])
                if result.status is not CommitStatus.APPLIED:
                    break
                case.moved(commit)
                await asyncio.sleep(random.uniform(0, 0.002))  # noqa: S311
        assert deleted == [case.row.version], "events were deleted that came after the look"
        assert await store.version(case) == 0

    async def test_of_deletions_at_once_each_counts_once(self, store: OpenStore) -> None:
        cases = [Case() for _ in range(12)]
        for case in cases:
            await case.apply(store.a)
        heads = [(case.id, 1) for case in cases]
        counts = await asyncio.gather(store.a.delete(heads), store.b.delete(heads[::-1]), store.a.delete(heads))
        assert sum(counts) == len(heads)
        assert [await store.version(case) for case in cases] == [0] * 12

    async def test_pages_stay_while_rows_are_added(self, store: OpenStore) -> None:
        case = Case()
        tools = [case.tool(started_at=2 * n) for n in range(12)]
        await case.apply(store.a, case.commit(rows=tools))
        query = Query("tool", (Where("investigation_id", "=", case.id),), sort="started_at", limit=3)
        found: list[Any] = []
        while page := await store.b.find(query):
            found += page
            last: Any = page[-1]
            query = dataclasses.replace(query, after=(last.started_at, last.id))
            earlier = [case.tool(started_at=1), case.tool(started_at=last.started_at - 1)]
            await case.apply(store.a, case.commit(rows=earlier))
        assert all_same(found, tools), "a row that was there all the time was left out, or came twice"

    async def test_a_page_of_events_is_dense_while_others_append(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a, case.commit(*"abc"))
        seen = 0

        async def append() -> None:
            for _ in range(20):
                await case.apply(store.a, case.commit("a", "b", "c"))
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(append())
            while seen < case.row.version or not writing.done():
                page = await store.b.read_events(case.id, after=seen, limit=10)
                assert [event.sequence for event in page] == list(range(seen + 1, seen + len(page) + 1))
                seen += len(page)
                await asyncio.sleep(0)
        assert seen == case.row.version == 63


class ProcessRaceTests(ContractBase):
    """Processes. A store that another process cannot open skips these, and says so."""

    async def test_batches_of_three_processes_overlap(self, store: OpenStore) -> None:
        cases = [Case() for _ in range(8)]
        for case in cases:
            await case.apply(store.a)
        ids = [case.id for case in cases]
        mine: list[dict[str, int]] = []
        async with (
            another_process(store, "batches", "20", "one", *ids) as one,
            another_process(store, "batches", "20", "two", *ids) as two,
            asyncio.TaskGroup() as tasks,
        ):
            others = [tasks.create_task(answer(process)) for process in (one, two)]
            while not all(other.done() for other in others):
                mine.append(await append_batches(store.a, ids, 1, "here"))
        applied = {"here": mine, "one": [others[0].result()], "two": [others[1].result()]}
        await _check_logs(store, cases, applied)
        total = sum(sum(one.values()) for told in applied.values() for one in told)
        assert total >= len(ids), "of all these batches hardly a commit was applied"

    async def test_of_four_processes_one_wins(self, store: OpenStore) -> None:
        async with contextlib.AsyncExitStack() as stack:
            others = [await stack.enter_async_context(another_process(store, "contend", "r", "k")) for _ in range(3)]
            asked = asyncio.gather(answers(others), return_exceptions=True)
            told = [*await asyncio.gather(contend(store.a, "r", "k"), contend(store.b, "r", "k"))]
            (elsewhere,) = await asked
            if isinstance(elsewhere, BaseException):
                raise elsewhere
            told += elsewhere
        assert sum(one["claimed"] for one in told) == 1, "a lease was given to two"
        won = [one["id"] for one in told if one["status"] == CommitStatus.APPLIED]
        assert len(won) == 1, f"a key was given {len(won)} times"
        lost = [one for one in told if one["id"] != won[0]]
        assert [(one["status"], one["existing"]) for one in lost] == [(CommitStatus.CONSTRAINT, won[0])] * 4
        assert [row.id for row in await store.a.find(Query("investigation", (Where("key", "=", "k"),)))] == won
