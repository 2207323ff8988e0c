"""Rows made again, and deletion."""

from __future__ import annotations

from unittest import SkipTest

from investigation_sdk.domain.rows import Row
from investigation_sdk.storage.backend import AdvancingBackend, Backend
from investigation_sdk.storage.commit import Advance, CommitStatus, Kind, Lease, Query, Where

from .building import Case, same
from .opening import ContractBase, OpenStore, statuses

_KINDS: tuple[Kind, ...] = ("investigation", "phase", "tool")
_SNAPSHOT: Kind = "snapshot"


class PutRowsTests(ContractBase):
    """``put_rows`` repairs, and never goes backwards."""

    async def _stored(self, backend: Backend) -> tuple[Case, list[Row]]:
        case = Case()
        phase = case.phase(sequence=4)
        tool = case.tool(phase_id=phase.id, sequence=5)
        await case.apply(backend, case.commit(*"abcdef", rows=[phase, tool]))
        return case, [case.row, phase, tool]

    async def _check(self, store: OpenStore, rows: list[Row]) -> None:
        for kind, row in zip(_KINDS, rows, strict=True):
            assert same(await store.a.get(kind, row.id), row)

    async def test_older_rows_are_not_written(self, store: OpenStore) -> None:
        case, rows = await self._stored(store.a)
        phase, tool = case.phase(), case.tool()
        older: list[Row] = [
            case.row._replace(version=5, head=bytes(32), subject="older"),
            phase._replace(id=rows[1].id, sequence=3, status="older"),
            tool._replace(id=rows[2].id, sequence=4, status="older"),
        ]
        await store.a.put_rows(older)
        await self._check(store, rows)

    async def test_rows_of_the_same_age_are_mended(self, store: OpenStore) -> None:
        _, (investigation, phase, tool) = await self._stored(store.a)
        mended: list[Row] = [
            investigation._replace(subject="mended", status="failed"),  # type: ignore[call-arg]
            phase._replace(phase_name="mended", status="failed"),  # type: ignore[call-arg]
            tool._replace(agent_name="mended", status="failed"),  # type: ignore[call-arg]
        ]
        await store.a.put_rows(mended)
        await self._check(store, mended)

    async def test_newer_rows_and_missing_rows_are_written(self, store: OpenStore) -> None:
        case, (_, phase, tool) = await self._stored(store.a)
        newer: list[Row] = [
            case.row._replace(version=7, head=bytes(range(32))),
            phase._replace(sequence=7, status="failed"),  # type: ignore[call-arg]
            tool._replace(sequence=7, status="failed"),  # type: ignore[call-arg]
        ]
        missing_phase = case.phase()
        missing_tool = case.tool(phase_id=missing_phase.id)
        await store.a.put_rows([missing_tool, *newer[::-1], missing_phase])
        await self._check(store, newer)
        assert same(await store.a.get("phase", missing_phase.id), missing_phase)
        assert same(await store.a.get("tool", missing_tool.id), missing_tool)

    async def test_rows_without_an_investigation_are_not_written(self, store: OpenStore) -> None:
        ghost = Case()
        ghost.moved(ghost.commit())
        phase, tool = ghost.phase(), ghost.tool()
        await store.a.put_rows([ghost.row, phase, tool])
        assert await store.a.get("investigation", ghost.id) is None
        assert await store.a.get("phase", phase.id) is None
        assert await store.a.get("tool", tool.id) is None

    async def test_no_rows(self, store: OpenStore) -> None:
        await store.a.put_rows([])


class AdvanceTests(ContractBase):
    """Progress between two commits: where a backend takes it at all."""

    def _advancing(self, store: OpenStore) -> AdvancingBackend:
        if not isinstance(store.a, AdvancingBackend):
            raise SkipTest("this backend takes no progress between two commits")
        return store.a

    async def test_progress_only_rises_and_changes_nothing_else(self, store: OpenStore) -> None:
        backend, case = self._advancing(store), Case()
        phase = case.phase(progress_percentage=20)
        await case.apply(backend, case.commit(rows=[phase], progress_percentage=10))
        for percent, now in ((40, 40), (30, 40), (41, 41)):
            advances = [
                Advance("investigation", case.id, 1, percent),
                Advance("phase", phase.id, phase.attempt, percent),
            ]
            await backend.advance(advances)
            for handle in (store.a, store.b):
                assert same(await handle.get("investigation", case.id), case.row._replace(progress_percentage=now))
                assert same(await handle.get("phase", phase.id), phase._replace(progress_percentage=now))
        (found,) = await store.b.find(Query("investigation", (Where("id", "=", case.id),)))
        assert same(found, case.row._replace(progress_percentage=41))

    async def test_progress_of_another_attempt_is_not_written(self, store: OpenStore) -> None:
        backend, case = self._advancing(store), Case(attempt=2)
        phase = case.phase(attempt=2)
        await case.apply(backend, case.commit(rows=[phase]))
        for attempt in (1, 3):
            await backend.advance(
                [Advance("investigation", case.id, attempt, 50), Advance("phase", phase.id, attempt, 50)]
            )
        assert same(await store.a.get("investigation", case.id), case.row)
        assert same(await store.a.get("phase", phase.id), phase)

    async def test_a_commit_after_it_is_applied_and_says_how_far_it_is(self, store: OpenStore) -> None:
        backend, case = self._advancing(store), Case()
        await case.apply(backend, case.commit())
        await backend.advance([Advance("investigation", case.id, 1, 99)])
        await case.apply(backend, case.commit("next", progress_percentage=50))
        assert same(await store.b.get("investigation", case.id), case.row)
        assert case.row.progress_percentage == 50

    async def test_progress_of_what_is_not_there(self, store: OpenStore) -> None:
        backend = self._advancing(store)
        await backend.advance([Advance("investigation", Case().id, 1, 50), Advance("phase", "no id", 1, 50)])
        await backend.advance([])


class DeleteTests(ContractBase):
    """``delete``: everything, only at the given version, and for good."""

    async def test_everything_goes(self, store: OpenStore) -> None:
        case, other = Case(key="case-1"), Case()
        phase = case.phase()
        tool = case.tool(phase_id=phase.id)
        snapshot = case.snapshot(1)
        lease = Lease(case.id, "me", 60_000_000)
        await case.apply(store.a, case.commit(rows=[phase, tool], snapshot=snapshot, lease=lease))
        kept = other.tool()
        await other.apply(store.a, other.commit(rows=[kept]))
        assert await store.a.delete([(case.id, 1)]) == 1
        for kind, id in zip((*_KINDS, _SNAPSHOT), (case.id, phase.id, tool.id, snapshot.id), strict=True):
            assert await store.a.get(kind, id) is None
        assert not await store.a.read_events(case.id)
        assert await store.a.read_snapshot(case.id) is None
        assert await store.a.holder(case.id) is None
        found = await store.a.find(Query("tool"))
        assert [row.id for row in found] == [kept.id]
        await Case(key="case-1").apply(store.a)

    async def test_only_at_the_given_version(self, store: OpenStore) -> None:
        cases = [Case() for _ in range(3)]
        for case in cases:
            await case.apply(store.a)
        heads = [(cases[0].id, 1), (cases[1].id, 2), (Case().id, 1), (cases[2].id, 0)]
        assert await store.a.delete(heads) == 1
        assert [await store.version(case) for case in cases] == [0, 1, 1]
        assert await store.a.delete(heads) == 0
        assert await store.a.delete([]) == 0

    async def test_a_deleted_id_never_comes_back(self, store: OpenStore) -> None:
        case = Case()
        again = case.commit()
        await case.apply(store.a, again)
        late = case.commit(rows=[case.tool()])
        assert await store.a.delete([(case.id, 1)]) == 1
        backend = await store.reopen()
        for commit in (again, late):
            assert statuses(await backend.commit([commit])) == [CommitStatus.CONFLICT]
        await backend.put_rows([case.row, *late.rows[1:]])
        assert await store.version(case) == 0

    async def test_children_stay(self, store: OpenStore) -> None:
        parent = Case()
        await parent.apply(store.a)
        child = Case(parent_investigation_id=parent.id)
        await child.apply(store.a)
        assert await store.a.delete([(parent.id, 1)]) == 1
        orphan = child.row._replace(parent_investigation_id=None)
        assert await store.a.get("investigation", child.id) == orphan
        await child.apply(store.a)
        await store.a.put_rows([child.row])
        orphan = child.row._replace(parent_investigation_id=None)
        assert await store.a.get("investigation", child.id) == orphan
        assert not await store.a.find(Query("investigation", (Where("parent_investigation_id", "=", parent.id),)))
