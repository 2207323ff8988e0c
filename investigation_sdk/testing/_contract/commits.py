"""Commits: what is applied, what is not, and that nothing is half."""

from __future__ import annotations

import time
from typing import Any, Final

from investigation_sdk.domain.rows import SnapshotRow
from investigation_sdk.ids import lower_bound, uuid7
from investigation_sdk.storage.commit import Commit, CommitStatus, Lease, Query, Where

from .building import Case, same
from .opening import ContractBase, OpenStore, statuses

_DAY: Final = 86_400_000_000
_APPLIED, _CONFLICT, _CONSTRAINT = CommitStatus.APPLIED, CommitStatus.CONFLICT, CommitStatus.CONSTRAINT


async def _is_refused(store: OpenStore, commit: Commit, status: CommitStatus) -> None:
    """The commit is answered so, and no part of it is there."""
    before = await store.a.get("investigation", commit.investigation_id)
    events = await store.a.read_events(commit.investigation_id)
    (result,) = await store.a.commit([commit])
    assert result.status == status
    assert await store.a.get("investigation", commit.investigation_id) == before
    assert list(await store.a.read_events(commit.investigation_id)) == list(events)
    if commit.snapshot is not None:
        assert await store.a.get("snapshot", commit.snapshot.id) is None
    for row in commit.rows[1:]:
        stored = await store.a.get("tool" if hasattr(row, "tool_name") else "phase", row.id)
        assert not same(stored, row), "a row of a refused commit was written"


class CommitTests(ContractBase):
    """One commit: compared, applied whole or not at all."""

    async def test_a_commit_is_stored_as_it_is(self, store: OpenStore) -> None:
        case = Case(user_id="u-1", key="case-1", metadata='{"b": 1,  "a":2}', tenant_id="acme")
        phase = case.phase(weight=0.1, output_data="[1, 2]", duration_ms=2**40)
        tool = case.tool(phase_id=phase.id, tokens_used=2**63 - 1, cost_estimate="0.10", status="completed")
        types = ("investigation.created", "phase.started", "tool.started")
        snapshot = case.snapshot(3, state_data='{"s": 1}')
        commit = await case.apply(store.a, case.commit(*types, rows=[phase, tool], snapshot=snapshot))
        assert same(await store.a.get("investigation", case.id), commit.rows[0])
        assert same(await store.a.get("phase", phase.id), phase)
        assert same(await store.a.get("tool", tool.id), tool)
        assert same(await store.a.get("snapshot", snapshot.id), snapshot)
        assert list(await store.a.read_events(case.id)) == list(commit.events)

    async def test_numbers_in_rows_stay_what_they_are(self, store: OpenStore) -> None:
        case = Case(metadata='{"nothing":-0.0}')
        tool = case.tool(input_parameters='{"b":1e22,"a":[1.0,1,true]}', output_result="1e300", status="completed")
        phase = case.phase(output_data=f"[{10**40},0.1,1e-7]")
        commit = await case.apply(store.a, case.commit(rows=[phase, tool]))
        assert same(await store.a.get("investigation", case.id), commit.rows[0])
        assert same(await store.a.get("phase", phase.id), phase)
        assert same(await store.a.get("tool", tool.id), tool)

    async def test_all_columns_of_an_event_are_kept(self, store: OpenStore) -> None:
        case = Case()
        commit = case.commit("state.transition")
        full = commit.events[0]._replace(
            actor="user:7", previous_state="created", new_state="queued", metadata='{"late":true}'
        )
        commit.events = [full]
        await case.apply(store.a, commit)
        assert list(await store.a.read_events(case.id)) == [full]

    async def test_rows_are_replaced_by_id(self, store: OpenStore) -> None:
        case = Case()
        phase, tool, other = case.phase(), case.tool(), case.tool()
        await case.apply(store.a, case.commit(rows=[phase, tool, other]))
        later = phase._replace(status="completed", progress_percentage=100, completed_at=5, sequence=2)
        done = tool._replace(phase_id=None, status="completed", output_result="1", sequence=2)
        await case.apply(store.a, case.commit(rows=[later, done], status="completing", progress_percentage=90))
        assert same(await store.a.get("phase", phase.id), later)
        assert same(await store.a.get("tool", tool.id), done)
        assert same(await store.a.get("tool", other.id), other)
        assert same(await store.a.get("investigation", case.id), case.row)

    async def test_every_mutable_field_of_the_investigation_is_updated(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a)
        changes: dict[str, Any] = {
            "token": uuid7(), "owner": "me", "attempt": 2, "current_phase": "p", "progress_percentage": 7,
            "started_at": 1, "completed_at": 2, "failed_at": 3, "retry_count": 4, "error_message": "e",
            "failure_kind": "error", "result": "{}", "last_checkpoint": "[]", "resume_requested": 1,
            "tokens_used": 2**53 + 1, "api_calls_made": 9, "cost_estimate": "1.50", "claimable_at": 5,
        }  # fmt: skip
        await case.apply(store.a, case.commit(**changes))
        assert same(await store.a.get("investigation", case.id), case.row)
        await case.apply(store.a, case.commit(status="failed"))
        assert same(await store.a.get("investigation", case.id), case.row)

    async def test_another_version_conflicts(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a)
        stale = case.commit(rows=[case.tool(), case.phase()], snapshot=case.snapshot(2))
        await case.apply(store.a)
        await _is_refused(store, stale, _CONFLICT)

    async def test_another_head_conflicts(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a)
        commit = case.commit(rows=[case.tool()])
        commit.expected_head = bytes(31) + b"\1"
        await _is_refused(store, commit, _CONFLICT)

    async def test_another_version_conflicts_though_the_head_is_right(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a)
        for version in (2, 3):
            ahead = Case.of(case.row._replace(version=version))
            await _is_refused(store, ahead.commit(rows=[case.tool()]), _CONFLICT)

    async def test_a_future_version_conflicts(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a)
        ahead = Case.of(case.row)
        ahead.moved(ahead.commit())
        await _is_refused(store, ahead.commit(rows=[case.tool()]), _CONFLICT)

    async def test_an_investigation_that_is_not_there_conflicts(self, store: OpenStore) -> None:
        case = Case()
        case.moved(case.commit())
        await _is_refused(store, case.commit(rows=[case.tool()]), _CONFLICT)

    async def test_creating_twice_conflicts(self, store: OpenStore) -> None:
        case = Case(key="case-1")
        first = case.commit()
        second = case.commit(rows=[case.tool()], subject="other")
        await case.apply(store.a, first)
        await _is_refused(store, second, _CONFLICT)

    async def test_sent_again_conflicts_and_is_there_once(self, store: OpenStore) -> None:
        case = Case()
        first = await case.apply(store.a)
        second = await case.apply(store.a, case.commit("a", "b"))
        for commit in (first, second):
            await _is_refused(store, commit, _CONFLICT)
        assert list(await store.a.read_events(case.id)) == case.events

    async def test_a_key_is_taken_once(self, store: OpenStore) -> None:
        case = Case(key="case-1")
        await case.apply(store.a)
        other = Case(key="case-1")
        commit = other.commit(rows=[other.tool()])
        (result,) = await store.a.commit([commit])
        assert result.status == _CONSTRAINT
        assert result.existing_id == case.id, "the answer must name who holds the key"
        assert await store.version(other) == 0
        await _is_refused(store, commit, _CONSTRAINT)

    async def test_a_key_is_one_with_tenant_type_and_generation(self, store: OpenStore) -> None:
        for fields in (
            {},
            {"generation": 2},
            {"tenant_id": "acme"},
            {"investigation_type": "security"},
            {"key": None},
            {"key": None},
        ):
            await Case(**{"key": "case-1", **fields}).apply(store.a)

    async def test_a_key_is_taken_once_within_a_batch(self, store: OpenStore) -> None:
        one, two = Case(key="case-1"), Case(key="case-1")
        results = await store.a.commit([one.commit(), two.commit()])
        assert statuses(results) == [_APPLIED, _CONSTRAINT]
        assert results[1].existing_id == one.id

    async def test_a_parent_must_be_there(self, store: OpenStore) -> None:
        orphan = Case(parent_investigation_id=Case().id)
        (result,) = await store.a.commit([orphan.commit()])
        assert result.status == _CONSTRAINT
        assert "parent" in result.message
        assert result.existing_id is None
        assert await store.version(orphan) == 0

    async def test_parent_and_child_in_one_batch(self, store: OpenStore) -> None:
        parent = Case()
        child = Case(parent_investigation_id=parent.id)
        assert statuses(await store.a.commit([parent.commit(), child.commit()])) == [_APPLIED, _APPLIED]

    async def test_a_lease_is_taken_with_the_first_commit(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a, case.commit(lease=Lease(case.id, "me", 60_000_000)))
        held = await store.a.holder(case.id)
        assert held is not None
        assert (held.owner, held.version) == ("me", 1)
        assert held.expires_at > 60_000_000, "a lease's end is a duration, on top of the store's clock"
        assert await store.a.claim(case.id, "other", ttl=1) is None

    async def test_a_refused_first_commit_takes_no_lease(self, store: OpenStore) -> None:
        await Case(key="case-1").apply(store.a)
        late = Case(key="case-1")
        await store.a.commit([late.commit(lease=Lease(late.id, "me", 60_000_000))])
        assert await store.a.holder(late.id) is None

    async def test_an_id_says_when_it_was_created(self, store: OpenStore) -> None:
        now = time.time_ns() // 1000
        for days in (-20_000, -1.1, 1.1, 3000):
            case = Case(id=lower_bound(now + int(days * _DAY)))
            commit = case.commit(rows=[case.tool()], lease=Lease(case.id, "me", 60_000_000))
            await _is_refused(store, commit, CommitStatus.DATA)
            (result,) = await store.a.commit([commit])
            assert case.id in result.message
            assert "clock" in result.message
            assert await store.a.holder(case.id) is None
        for days in (-0.9, 0.9):
            case = Case(id=lower_bound(now + int(days * _DAY)))
            await case.apply(store.a)
            await case.apply(store.a)

    async def test_an_id_of_another_time_fails_alone(self, store: OpenStore) -> None:
        cases = [Case(), Case(id=lower_bound(0)), Case()]
        results = await store.a.commit([case.commit() for case in cases])
        assert statuses(results) == [_APPLIED, CommitStatus.DATA, _APPLIED]

    async def test_a_snapshot_comes_with_its_commit(self, store: OpenStore) -> None:
        case = Case()
        assert await store.a.read_snapshot(case.id) is None
        for sequence in (1, 2, 3):
            await case.apply(store.a, case.commit(snapshot=case.snapshot(sequence)))
        latest = await store.a.read_snapshot(case.id)
        assert latest is not None
        assert latest.sequence == 3

    async def test_a_snapshot_takes_the_place_of_older_ones(self, store: OpenStore) -> None:
        case, other = Case(), Case()
        made: dict[int, str] = {}
        for sequence in (1, 2, 3, 4):
            await case.apply(store.a, case.commit(snapshot=case.snapshot(sequence)))
        await other.apply(store.a, other.commit(snapshot=other.snapshot(1)))
        made = {row.sequence: row.id for row in await _snapshots(store, case)}
        assert sorted(made) == [1, 2, 3, 4], "without snapshots_from, all stay"
        stale = case.commit(snapshot=case.snapshot(9), snapshots_from=9)
        await case.apply(store.a, case.commit())
        await case.apply(store.b, case.commit(snapshot=case.snapshot(6), snapshots_from=3))
        assert [await store.a.get("snapshot", made[n]) is not None for n in made] == [False, False, True, True]
        kept = [row.sequence for row in await _snapshots(store, case)]
        assert kept == [3, 4, 6], "those below snapshots_from are gone, and no others"
        assert statuses(await store.a.commit([stale])) == [CommitStatus.CONFLICT]
        kept = [row.sequence for row in await _snapshots(store, case)]
        assert kept == [3, 4, 6], "a commit that is refused deletes none"
        elsewhere = await store.a.read_snapshot(other.id)
        assert elsewhere is not None, "one of another investigation stays"
        assert elsewhere.sequence == 1


async def _snapshots(store: OpenStore, case: Case) -> list[SnapshotRow]:
    query = Query("snapshot", (Where("investigation_id", "=", case.id),), sort="sequence")
    return [row for row in await store.a.find(query) if isinstance(row, SnapshotRow)]
