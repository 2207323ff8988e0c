"""Batches: many commits at once, answered one by one, and what cannot be stored harms no neighbour."""

from __future__ import annotations

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.storage.commit import APPLIED, Commit, CommitStatus

from .building import Case, same
from .opening import ContractBase, OpenStore, refused, statuses

_APPLIED, _CONFLICT, _CONSTRAINT = CommitStatus.APPLIED, CommitStatus.CONFLICT, CommitStatus.CONSTRAINT


class BatchTests(ContractBase):
    """Many commits: answered in order, none touches its neighbours."""

    async def test_no_commits(self, store: OpenStore) -> None:
        assert list(await store.a.commit([])) == []

    async def test_many_are_answered_in_order(self, store: OpenStore) -> None:
        held = Case(key="held")
        await held.apply(store.a)
        cases = [Case() for _ in range(6)]
        batch = [case.commit("a", "b", rows=[case.tool()]) for case in cases]
        batch[1] = Case.of(cases[1].row._replace(version=4)).commit()
        batch[3].rows = [cases[3].row._replace(key="held", version=2, head=batch[3].events[-1].hash)]
        results = await store.a.commit(batch)
        assert statuses(results) == [_APPLIED, _CONFLICT, _APPLIED, _CONSTRAINT, _APPLIED, _APPLIED]
        assert results[3].existing_id == held.id
        assert [await store.version(case) for case in cases] == [2, 0, 2, 0, 2, 2]

    async def test_a_large_batch(self, store: OpenStore) -> None:
        cases = [Case() for _ in range(300)]
        assert set(await store.a.commit([case.commit() for case in cases])) == {APPLIED}
        for case in cases:
            case.moved(case.commit())
        heads: dict[str, InvestigationRow] = {}
        for case in cases:
            row = await store.a.get("investigation", case.id)
            assert isinstance(row, InvestigationRow)
            heads[case.id] = row
        batch = [Case.of(row).commit("a", "b", "c") for row in heads.values()]
        assert set(await store.a.commit(batch)) == {APPLIED}

    async def test_two_commits_of_one_investigation_are_refused(self, store: OpenStore) -> None:
        case, other = Case(), Case()
        await refused(store.a.commit([other.commit(), case.commit(), case.commit()]), "the batch")
        assert await store.version(case) == await store.version(other) == 0

    async def test_a_commit_without_events_is_refused(self, store: OpenStore) -> None:
        case, other = Case(), Case()
        empty = case.commit()
        empty.events = []
        await refused(store.a.commit([other.commit(), empty]), "the batch")
        assert await store.version(case) == await store.version(other) == 0

    async def test_commits_that_do_not_fit_together_are_refused(self, store: OpenStore) -> None:
        for break_ in (_gap, _repeated, _backwards, _not_behind, _other_version, _other_head, _no_rows, _no_head_row):
            for case in (Case(), Case()):
                if break_ is not _not_behind:
                    await case.apply(store.a)
                before = await store.version(case)
                other, commit = Case(), case.commit("a", "b", rows=[case.tool()])
                break_(commit)
                await refused(store.a.commit([other.commit(), commit]), f"a commit with {break_.__name__}")
                assert (await store.version(case), await store.version(other)) == (before, 0)

    async def test_one_poison_among_fifty_that_create(self, store: OpenStore) -> None:
        for poison in POISONS:
            cases = [Case() for _ in range(50)]
            batch = [case.commit("a", "b", rows=[case.tool()]) for case in cases]
            poison(cases[20], batch[20])
            await one_fails(store, cases, batch, 20)

    async def test_one_poison_among_fifty_that_append(self, store: OpenStore) -> None:
        cases = [Case() for _ in range(50)]
        for case in cases:
            await case.apply(store.a)
        for poison in POISONS:
            batch = [case.commit("a", "b", rows=[case.tool()]) for case in cases]
            poison(cases[30], batch[30])
            await one_fails(store, cases, batch, 30)


def _gap(commit: Commit) -> None:
    commit.events = [commit.events[0], commit.events[1]._replace(sequence=commit.expected_version + 3)]


def _repeated(commit: Commit) -> None:
    commit.events = [commit.events[0], commit.events[1]._replace(sequence=commit.expected_version + 1)]


def _backwards(commit: Commit) -> None:
    commit.events = commit.events[::-1]


def _not_behind(commit: Commit) -> None:
    commit.expected_version += 1


def _other_version(commit: Commit) -> None:
    commit.rows = [_head(commit)._replace(version=commit.expected_version + 1), *commit.rows[1:]]


def _other_head(commit: Commit) -> None:
    commit.rows = [_head(commit)._replace(head=commit.events[0].hash), *commit.rows[1:]]


def _no_rows(commit: Commit) -> None:
    commit.rows = []


def _no_head_row(commit: Commit) -> None:
    commit.rows = commit.rows[::-1]


def _head(commit: Commit) -> InvestigationRow:
    row = commit.rows[0]
    assert isinstance(row, InvestigationRow)
    return row


async def one_fails(store: OpenStore, cases: list[Case], batch: list[Commit], culprit: int) -> None:
    """Commit a batch in which one has a value that a store may be unable to keep: it is kept exactly, or refused whole,
    and its neighbours are applied."""
    before = await store.version(cases[culprit])
    results = list(await store.a.commit(batch))
    bad, case = batch[culprit], cases[culprit]
    if results[culprit] == APPLIED:  # a store may be able to keep it; then exactly
        assert list(await store.a.read_events(case.id, after=before)) == list(bad.events)
        assert same(await store.a.get("investigation", case.id), bad.rows[0])
        assert same(await store.a.get("tool", bad.rows[1].id), bad.rows[1])
    else:
        assert results[culprit].status in (CommitStatus.DATA, CommitStatus.SIZE)
        assert await store.version(case) == before, "a part of the poison was applied"
        assert await store.a.get("tool", bad.rows[1].id) is None, "a row of the poison was written"
    for n, (case, commit) in enumerate(zip(cases, batch, strict=True)):
        if results[n] == APPLIED:
            case.moved(commit)
        if n != culprit:
            assert results[n] == APPLIED, "a neighbour of a poison commit was not applied"
            assert same(await store.a.get("investigation", case.id), commit.rows[0])
            assert same(await store.a.get("tool", commit.rows[1].id), commit.rows[1])


def _surrogate_in_event(case: Case, commit: Commit) -> None:
    commit.events = [commit.events[0], commit.events[1]._replace(event_data='"\ud800"')]


def _surrogate_in_call(case: Case, commit: Commit) -> None:
    commit.rows = [commit.rows[0], case.tool(error_message="\udfff")]


def _surrogate_in_head(case: Case, commit: Commit) -> None:
    row = commit.rows[0]
    assert isinstance(row, InvestigationRow)
    commit.rows = [row._replace(current_phase="\udfff"), *commit.rows[1:]]


def _nul_in_call(case: Case, commit: Commit) -> None:
    commit.rows = [commit.rows[0], case.tool(error_message="a\x00b")]


def _nul_in_event(case: Case, commit: Commit) -> None:
    commit.events = [commit.events[0], commit.events[1]._replace(actor="\x00")]


def _number_in_call(case: Case, commit: Commit) -> None:
    commit.rows = [commit.rows[0], case.tool(tokens_used=2**70)]


def _number_in_event(case: Case, commit: Commit) -> None:
    commit.events = [commit.events[0], commit.events[1]._replace(event_timestamp=2**64)]


POISONS = (
    _surrogate_in_event,
    _surrogate_in_call,
    _surrogate_in_head,
    _nul_in_call,
    _nul_in_event,
    _number_in_call,
    _number_in_event,
)
"""Each puts a value into a commit that some store cannot represent."""
