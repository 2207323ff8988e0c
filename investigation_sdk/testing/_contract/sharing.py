"""Several handles, tasks and processes on the same data."""

from __future__ import annotations

import asyncio
import random

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.storage.backend import Backend, CommitNotApplied
from investigation_sdk.storage.commit import CommitStatus, Query, Wanted, Where

from .building import Case, same
from .opening import ContractBase, OpenStore, statuses
from .processes import another_process, answer, in_another_process
from .races import patient


async def append_with_retries(backend: Backend, id: str, times: int, note: str) -> int:
    """Append events one at a time to what is found there; answer how often somebody else was first."""
    conflicts = 0
    for _ in range(times):
        while True:
            row = await backend.get("investigation", id)
            assert isinstance(row, InvestigationRow)
            await asyncio.sleep(random.uniform(0, 0.002))  # noqa: S311 - for others to write meanwhile
            commit = Case.of(row).commit(note)
            try:
                (result,) = await backend.commit([commit])
            except CommitNotApplied:
                continue
            if result.status == CommitStatus.APPLIED:
                break
            assert result.status == CommitStatus.CONFLICT, f"a late commit was answered {result}"
            conflicts += 1
            await asyncio.sleep(random.uniform(0, 0.001 * min(conflicts, 20)))  # noqa: S311
    return conflicts


class SharingTests(ContractBase):
    """What one commits, all see; what two write, one wins."""

    async def test_another_handle_sees_at_once(self, store: OpenStore) -> None:
        case = Case(key="case-1", user_id="u")
        phase, tool = case.phase(), case.tool()
        await case.apply(store.a, case.commit(rows=[phase, tool], snapshot=case.snapshot(1)))
        assert same(await store.b.get("investigation", case.id), case.row)
        assert same(await store.b.get("tool", tool.id), tool)
        for n in range(5):
            one, two = (store.a, store.b) if n % 2 else (store.b, store.a)
            await case.apply(one, case.commit(progress_percentage=n, status=f"s{n}"))
            assert list(await two.read_events(case.id)) == case.events
            assert await two.find(Query("investigation", (Where("status", "=", f"s{n}"),))) == [case.row]
            assert same(await two.get("investigation", case.id), case.row)

    async def test_another_handle_conflicts(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a)
        stale = case.commit("stale")
        await case.apply(store.b)
        assert statuses(await store.a.commit([stale])) == [CommitStatus.CONFLICT]
        assert await store.version(case) == 2

    async def test_no_update_is_lost(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a)
        handles = [store.a, store.b]
        await asyncio.gather(*(append_with_retries(handles[n % 2], case.id, 6, f"task-{n}") for n in range(8)))
        assert await store.version(case) == 49
        events = await store.a.read_events(case.id)
        written = [event.event_type for event in events[1:]]
        assert sorted(written) == sorted([f"task-{n}" for n in range(8)] * 6)

    async def test_many_batches_at_once(self, store: OpenStore) -> None:
        cases = [Case() for _ in range(40)]
        batches = [[case.commit("a", rows=[case.tool()]) for case in cases[n : n + 5]] for n in range(0, 40, 5)]
        handles = [store.a, store.b]
        results = await asyncio.gather(*(patient(handles[n % 2], batch) for n, batch in enumerate(batches)))
        assert all(statuses(result) == [CommitStatus.APPLIED] * 5 for result in results)
        assert [await store.version(case) for case in cases] == [1] * 40

    async def test_what_was_applied_is_there_after_reopening(self, store: OpenStore) -> None:
        cases = [Case() for _ in range(3)]
        for case in cases:
            await case.apply(store.a, case.commit(*"abc", rows=[case.tool()]))
        backend = await store.reopen()
        for case in cases:
            assert list(await backend.read_events(case.id)) == case.events
            await case.apply(backend)

    async def test_opening_and_closing_twice(self, store: OpenStore) -> None:
        case = Case()
        await store.a.open()
        await case.apply(store.a)
        await store.a.close()
        await store.a.close()
        assert await store.b.get("investigation", case.id) == case.row
        await store.a.open()
        await case.apply(store.a)
        assert await store.version(case) == 2


class ProcessTests(ContractBase):
    """A second process on the same data."""

    async def test_another_process_sees_and_writes(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a, case.commit("a", "b"))
        stale = case.commit("stale")
        told = await in_another_process(store, "append", case.id, "1")
        assert told == {"version": 2, "events": 2, "conflicts": 0}
        assert await store.version(case) == 3
        assert statuses(await store.a.commit([stale])) == [CommitStatus.CONFLICT]

    async def test_another_process_finds_a_lease(self, store: OpenStore) -> None:
        assert await store.a.claim("case", "me", ttl=600_000_000) is not None
        assert await in_another_process(store, "claim", "case", "other") == {"claimed": False}
        assert await in_another_process(store, "claim", "free", "other") == {"claimed": True}
        assert await store.a.claim("free", "me", ttl=600_000_000) is None

    async def test_processes_share_a_queue(self, store: OpenStore) -> None:
        cases = [Case(status="queued", claimable_at=0, investigation_type="shared") for _ in range(20)]
        for case in cases:
            await case.apply(store.a)
        mine: list[str] = []
        async with (
            another_process(store, "claim_next", "shared", "one") as one,
            another_process(store, "claim_next", "shared", "two") as two,
            asyncio.TaskGroup() as tasks,
        ):
            answers = [tasks.create_task(answer(process)) for process in (one, two)]
            while not all(answer.done() for answer in answers):
                found = await store.a.claim_next(Wanted(["shared"]), [f"here-{len(mine)}"], ttl=600_000_000)
                mine += (lease.resource for lease in found)
                await asyncio.sleep(0)
        taken = [*mine, *answers[0].result()["claimed"], *answers[1].result()["claimed"]]
        assert sorted(taken) == sorted(case.id for case in cases), "each goes to one, and none is passed over for good"

    async def test_four_processes_lose_no_update(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a)
        mine = 0
        async with (
            another_process(store, "append", case.id, "15") as one,
            another_process(store, "append", case.id, "15") as two,
            another_process(store, "append", case.id, "15") as three,
            asyncio.TaskGroup() as tasks,
        ):
            others = [tasks.create_task(answer(process)) for process in (one, two, three)]
            while not all(other.done() for other in others):
                await append_with_retries(store.a, case.id, 1, "here")
                mine += 1
        assert await store.version(case) == 1 + 45 + mine
