"""Verifying: whether an investigation's log is what was written, and the payloads beside it too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from investigation_sdk.domain.records import Problem, VerificationReport
from investigation_sdk.engine.reading import get_raw_row
from investigation_sdk.engine.sight import Sight
from investigation_sdk.engine.sound import oddity
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.checking import ChainProblem, Checker
from investigation_sdk.storage.commit import StoredEvent
from investigation_sdk.storage.tags import LargePayload, references

_PAGE: Final = 1000
_MARK: Final = '"$type":"blob"'
"""What is in the data of every event that refers to a blob, as the SDK writes it."""


async def verify(
    backend: Backend, investigation_id: str, sight: Sight, progress: Callable[[int], object] | None = None
) -> VerificationReport:
    """Check the chain of one investigation, its columns, its blobs, and that its row states its end."""
    row = await get_raw_row(backend, investigation_id, sight)
    checker = Checker(investigation_id)
    blobs = BlobChecker(backend, investigation_id)
    after = 0
    while True:
        # Events that were appended since the row was read are not the row's.
        page = await backend.read_events(investigation_id, after=after, limit=_PAGE)
        again = await get_raw_row(backend, investigation_id, sight) if len(page) < _PAGE else row
        checker.add(page)
        await blobs.add(page)
        if progress is not None:
            progress(checker.checked)
        if len(page) < _PAGE:
            if again.version != row.version and oddity(again) is None and checker.sequence < again.version:
                row, after = again, checker.sequence
                continue
            row = again
            break
        after = page[-1].sequence
    odd = oddity(row)
    if odd is None:
        problems = [*checker.finish(row.version, row.head), *blobs.problems]
    else:
        message = f"a column of the investigation's row has a value that is not of its type: {odd}"
        problems = [*checker.problems, *blobs.problems, ChainProblem(None, "row", message)]
    problems.sort(key=lambda problem: (problem.sequence is None, problem.sequence or 0))
    return VerificationReport(
        investigation_id=investigation_id,
        ok=not problems,
        checked=checker.checked,
        head=checker.head.hex(),
        problems=[Problem(sequence=p.sequence, kind=p.kind, message=p.message) for p in problems],
    )


class BlobChecker:
    """Reads every blob that the events of one investigation refer to, once, and compares it with its digest.

    It keeps one line for each blob, and of their bytes one piece at a time.
    """

    def __init__(self, backend: Backend, investigation_id: str) -> None:
        self.problems: list[ChainProblem] = []
        self._backend = backend
        self._id = investigation_id
        self._found: dict[LargePayload, str] = {}

    async def add(self, events: Iterable[StoredEvent]) -> None:
        """Check what these events refer to."""
        for event in events:
            for large in _references(event):
                wrong = self._found.get(large)
                if wrong is None:
                    wrong = self._found[large] = await self._compare(large)
                if wrong:
                    self._problem(event, large, wrong)

    def _problem(self, event: StoredEvent, large: LargePayload, wrong: str) -> None:
        message = (
            f"a payload of event {event.sequence} ({event.event_type}) {wrong}: it had {large.bytes:,} bytes and the "
            f"digest {large.digest}"
        )
        self.problems.append(ChainProblem(event.sequence, "blob", message))

    async def _compare(self, large: LargePayload) -> str:
        """What is wrong with a blob, empty for nothing."""
        digest, size = hashlib.sha256(), 0
        async for chunk in self._backend.read_blob(self._id, large.digest):
            digest.update(chunk)
            size += len(chunk)
            if size > large.bytes:
                break
        if not size:
            return "is missing"
        return "" if size == large.bytes and digest.hexdigest() == large.digest else "was changed"


def _references(event: StoredEvent) -> list[LargePayload]:
    """What an event refers to. Nothing that can stand in a store makes this raise."""
    data: Any = event.event_data
    if type(data) is not str or _MARK not in data:
        return []
    try:
        tree: Any = json.loads(data)
    except (ValueError, RecursionError):  # the chain says that it was changed
        return []
    return references(tree)
