"""Sealing: entries that were decided and numbered become one commit, chained, with the rows that they change."""

from __future__ import annotations

from collections.abc import Iterable

from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.project import investigation_row, touched_rows
from investigation_sdk.domain.rows import Row
from investigation_sdk.engine.entries import Entry
from investigation_sdk.engine.texts import event_text, json_text
from investigation_sdk.storage.chain import seal
from investigation_sdk.storage.commit import Blob, Commit, Lease, StoredEvent


def make_commit(entries: Iterable[Entry], fold: Fold, expected: int, head: bytes, lease: Lease | None) -> Commit:
    """The commit of `entries` onto version `expected` with that `head`.

    `fold` is with all of the entries and nothing behind them; what it says was touched becomes rows. `lease` is to
    be taken with it.

    Raises:
        UnicodeEncodeError: a text in it is not Unicode.
        AssertionError: they are not numbered one after another; such a commit is never to be sent.
    """
    events: list[StoredEvent] = []
    blobs: dict[str, Blob] = {}
    id, tenant, last, sequence = fold.id, fold.tenant, head, expected
    for entry in entries:
        for event in entry.events:
            sequence += 1
            if event.sequence != sequence:
                raise AssertionError(f"event {event.sequence} is not the one behind {sequence - 1}")
            text = event.text
            if text is None:
                text = event.text = event_text(event)
            sealed = seal(id, tenant, event, text, last)
            last = sealed.hash
            events.append(sealed)
            if event.blobs:
                blobs.update((blob.digest, blob) for blob in event.blobs)
    rows: list[Row] = [investigation_row(fold, sequence, last, json_text)]
    rows += touched_rows(fold, json_text)
    return Commit(events[0].id, id, expected, head, events, rows, tuple(blobs.values()), None, lease)
