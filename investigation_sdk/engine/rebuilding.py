"""Rebuilding: rows made again from events alone, and rows compared with what the events add up to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from investigation_sdk.domain.records import RowProblem, RowsReport
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow, ToolRow
from investigation_sdk.engine.projecting import Projected, project_log
from investigation_sdk.engine.reading import get_raw_row
from investigation_sdk.engine.sight import Sight
from investigation_sdk.engine.sound import oddity, unreadable
from investigation_sdk.errors import BackendUnavailable, InvestigationError, RecordUnreadable
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Aggregate, Kind, Query, Where

RowT = TypeVar("RowT", PhaseRow, ToolRow)
Progress = Callable[[int], object]

MOST: Final = 1000
"""So many problems of one investigation are named."""

_PAGE: Final = 200
_TRIES: Final = 5
REPAIRABLE: Final = frozenset({"damaged", "missing"})


async def rebuild(backend: Backend, investigation_id: str, sight: Sight) -> int:
    """Write all rows of an investigation again, from its events; how many they are.

    Raises:
        InvestigationNotFound: there is none of that id, or it is another tenant's.
        RecordUnreadable: the log is not what was written, or its row states another end; nothing was written.
    """
    row = await get_raw_row(backend, investigation_id, sight)
    whole = await project_log(backend, investigation_id, _nothing, version=_version(row))
    _refuse_other_end(row, whole)

    async def put(calls: Sequence[ToolRow]) -> None:
        for start in range(0, len(calls), _PAGE):
            await backend.put_rows(calls[start : start + _PAGE])

    await backend.put_rows([whole.row, *whole.phases])
    again = await project_log(backend, investigation_id, put)
    if again.row.version != whole.row.version:  # it went on meanwhile: what came is newer, and is kept
        await backend.put_rows([again.row, *again.phases])
    return 1 + len(again.phases) + again.calls


async def _nothing(_calls: Sequence[ToolRow]) -> None:
    return


def _version(row: InvestigationRow) -> int:
    return row.version if type(row.version) is int else 0


def _refuse_other_end(row: InvestigationRow, whole: Projected) -> None:
    """What a row says of the log's end is evidence; nothing here overwrites it."""
    if whole.hash_at != row.head and not _is_behind(row, whole):
        raise unreadable(
            row.id,
            None,
            f"its row says that its log ends at event {row.version}, with another hash than the log has; rows that are "
            "ahead of their log are not made again",
        )


def _is_behind(row: InvestigationRow, whole: Projected) -> bool:
    """Whether a row has the hash of the log's end, and only names an event before it, or none: nothing is missing."""
    return row.head == whole.row.head and not (type(row.version) is int and row.version > whole.row.version)


async def check(
    backend: Backend, investigation_id: str, sight: Sight, *, repair: bool = False, progress: Progress | None = None
) -> RowsReport:
    """Compare the rows of one investigation with what its log adds up to, and where wanted make them again.

    Raises:
        InvestigationNotFound: there is none of that id, or it is another tenant's.
        BackendUnavailable: the store does not answer.
    """
    found = await _look(backend, investigation_id, sight, progress)
    if not repair or not any(problem.kind in REPAIRABLE for problem in found.problems):
        return found
    try:
        await rebuild(backend, investigation_id, sight)
    except RecordUnreadable:
        return found  # its problems say why
    except ValueError as error:  # of the store
        why = RowProblem(
            kind="refused",
            table="investigations",
            id=investigation_id,
            message=f"the store does not take the rows that its log adds up to ({error}); where that is its key, "
            "another investigation has it by now",
        )
        return found.model_copy(update={"problems": [*found.problems, why]})
    after = await _look(backend, investigation_id, sight, None)
    return after.model_copy(update={"repaired": max(0, len(found.problems) - len(after.problems))})


async def check_all(
    backend: Backend, wheres: Sequence[Where], *, repair: bool, progress: Progress | None
) -> AsyncIterator[RowsReport]:
    """Check one investigation after another, in order; what cannot be read stops none of the others."""
    query = Query("investigation", tuple(wheres), limit=_PAGE)
    while True:
        page = await backend.find(query)
        for row in page:
            try:
                yield await check(backend, row.id, Sight(), repair=repair, progress=progress)
            except BackendUnavailable:
                raise
            except InvestigationError as error:
                yield _report(row.id, 0, 0, [_unreadable(row.id, error)])
        if len(page) < _PAGE:
            return
        query = replace(query, after=(page[-1].id, page[-1].id))


async def _look(backend: Backend, id: str, sight: Sight, progress: Progress | None) -> RowsReport:
    """A look at rows that nobody changed meanwhile."""
    for _ in range(_TRIES):
        before = await get_raw_row(backend, id, sight)
        comparison = _Comparison(backend, id)
        try:
            report = await comparison.run(before, progress)
        except BackendUnavailable:
            raise
        except InvestigationError as error:
            report = _report(id, 0, comparison.rows, [*comparison.problems, _unreadable(id, error)])
        after = await get_raw_row(backend, id, sight)
        if report.ok or (after.version, after.head) == (before.version, before.head):
            return report
    busy = RowProblem(kind="busy", table="investigations", id=id, message="it changed each time that it was compared")
    return _report(id, 0, 0, [busy])


def _unreadable(id: str, error: InvestigationError) -> RowProblem:
    return RowProblem(kind="unreadable", table="investigation_events", id=id, message=str(error))


def _report(id: str, checked: int, rows: int, problems: list[RowProblem], more: int = 0) -> RowsReport:
    if more:
        message = f"and {more} more problems of this investigation"
        problems = [*problems, RowProblem(kind="more", table="investigations", id=id, message=message)]
    return RowsReport(investigation_id=id, ok=not problems, checked=checked, rows=rows, problems=problems)


def _advisory(column: str, here: Any, there: Any) -> bool:
    """Whether two values differ only in what was reported: no event need have said that yet."""
    if column == "progress_percentage":
        return type(here) is int and there <= here < 100
    if column != "activity":
        return False
    try:
        return _facts(json.loads(here)) == _facts(json.loads(there))
    except (TypeError, ValueError, AttributeError, RecursionError):
        return False


def _facts(activity: dict[str, Any]) -> dict[str, Any]:
    facts = {name: value for name, value in activity.items() if name not in ("reported", "marks")}
    if "running" in facts:
        facts["running"] = [call[:-1] for call in facts["running"]]
    return facts


_TABLES: Final = {
    "investigation": "investigations",
    "phase": "investigation_phases",
    "tool": "tool_executions",
}


class _Comparison:
    """Rows of one investigation beside what they should be."""

    def __init__(self, backend: Backend, id: str) -> None:
        self.problems: list[RowProblem] = []
        self.rows = 0
        self._backend = backend
        self._id = id
        self._found = 0
        self._more = 0
        self._phases: frozenset[str] = frozenset()

    async def run(self, row: InvestigationRow, progress: Progress | None) -> RowsReport:
        whole = await project_log(self._backend, self._id, self._calls, version=_version(row), progress=progress)
        self.rows += 1
        self._phases = frozenset(phase.id for phase in whole.phases)
        if oddity(row) is None and row.version > whole.row.version:
            self._ahead("investigation", row.id, row.version, whole.row.version)
        elif oddity(row) is None and row.head != whole.hash_at and not _is_behind(row, whole):
            message = (
                f"its head is not the hash of event {row.version} of the log: compare both with a head that you kept"
            )
            self._add("head", "investigation", row.id, message)
        else:
            self._compare("investigation", row, whole.row)
        await self._extra("phase", await self._several("phase", whole.phases))
        await self._extra("tool", self._found)
        return _report(self._id, whole.row.version, self.rows, self.problems, self._more)

    async def _calls(self, rows: Sequence[ToolRow]) -> None:
        for start in range(0, len(rows), _PAGE):
            self._found += await self._several("tool", rows[start : start + _PAGE])

    async def _several(self, kind: Kind, expected: Sequence[RowT]) -> int:
        """Compare these rows with the stored ones; how many of them are there."""
        ids = tuple(row.id for row in expected)
        stored: dict[str, Any] = {}
        for start in range(0, len(ids), _PAGE):
            some = ids[start : start + _PAGE]
            found = await self._backend.find(Query(kind, (Where("id", "in", some),), limit=len(some)))
            stored.update((row.id, row) for row in found)
        there = 0
        for row in expected:
            one: Any = stored.get(row.id)
            if one is None or one != row:  # a list may lag behind; what one asks for by its id does not
                one = await self._backend.get(kind, row.id)
            if one is None:
                self._add("missing", kind, row.id, "there is no such row, though the log has it")
                continue
            there += 1
            if type(one.sequence) is int and one.sequence > row.sequence:
                self._ahead(kind, row.id, one.sequence, row.sequence)
            else:
                self._compare(kind, one, row)
        self.rows += there
        return there

    def _compare(self, kind: Kind, stored: Any, expected: Any) -> None:
        if stored == expected:
            return
        names = [
            name
            for name, here, there in zip(expected._fields, stored, expected, strict=True)
            if here != there and not _advisory(name, here, there)
        ]
        if names:
            message = f"not what the log says: {', '.join(names)}"
            self._add("damaged", kind, expected.id, message, names)

    async def _extra(self, kind: Kind, there: int) -> None:
        """Rows of this investigation that its log does not have, where there are more than `there`."""
        where = (Where("investigation_id", "=", self._id),)
        counted = await self._backend.aggregate(Aggregate(kind, where))
        if counted[0][0] <= there:
            return
        query = Query(kind, where, limit=_PAGE)
        while True:
            page = await self._backend.find(query)
            for row in page:
                if not await self._in_log(kind, row):
                    self._add("extra", kind, row.id, "the log has nothing of it")
            if len(page) < _PAGE:
                return
            query = replace(query, after=(page[-1].id, page[-1].id))

    async def _in_log(self, kind: Kind, row: Any) -> bool:
        if kind == "phase":
            return row.id in self._phases
        sequence: Any = row.input_sequence
        if type(sequence) is not int or sequence < 1:
            return False
        found = await self._backend.read_events(self._id, after=sequence - 1, limit=1)
        return bool(found) and found[0].id == row.id

    def _ahead(self, kind: Kind, id: str, here: int, there: int) -> None:
        message = f"it is as of event {here}, and the last one in the log that concerns it is {there}: events are gone"
        self._add("ahead", kind, id, message)

    def _add(self, problem: str, kind: Kind, id: str, message: str, columns: Sequence[str] = ()) -> None:
        if len(self.problems) >= MOST:
            self._more += 1
            return
        self.problems.append(
            RowProblem(kind=problem, table=_TABLES[kind], id=id, columns=list(columns), message=message)
        )
