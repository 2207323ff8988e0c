"""From what the store gives back to what the domain and the user work with."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final, cast

from investigation_sdk.domain.events import FORMAT_VERSION, SCHEMA_VERSIONS, Event
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.domain.upcast import upcast
from investigation_sdk.engine.sight import Sight
from investigation_sdk.engine.sound import readable, sound, stored_value, unreadable
from investigation_sdk.errors import SchemaMismatch
from investigation_sdk.storage.backend import Backend, OverviewBackend, TextsBackend
from investigation_sdk.storage.codec import Json, LargePayload, decode
from investigation_sdk.storage.commit import EventTexts, Query, StoredEvent, Where
from investigation_sdk.storage.spelling import to_json

_PAYLOADS: Final = frozenset({"configuration", "data", "input", "metadata", "output", "result"})

_PAGE: Final = 1000


async def get_row(backend: Backend, investigation_id: str, sight: Sight) -> InvestigationRow:
    """The row of an investigation: where ids that users give are looked up.

    Raises:
        InvestigationNotFound: there is none of that id, or none that is to be seen.
        RecordUnreadable: there is, and a column has a value that is not of its type.
    """
    return sound(await get_raw_row(backend, investigation_id, sight))


async def get_raw_row(backend: Backend, investigation_id: str, sight: Sight) -> InvestigationRow:
    """As :func:`get_row`, whatever is in it."""
    return sight.admit(await backend.get("investigation", investigation_id), investigation_id)


async def row_and_phases(
    backend: Backend, investigation_id: str, sight: Sight
) -> tuple[InvestigationRow, list[PhaseRow]]:
    """As :func:`get_row`, with the rows of all its phases, in order."""
    if not _reads_overviews(type(backend)):
        return await asyncio.gather(get_row(backend, investigation_id, sight), phases_of(backend, investigation_id))
    found = await cast("OverviewBackend", backend).overview(investigation_id, limit=_PAGE)
    if found is None:
        return sight.admit(None, investigation_id), []
    row, phases = sound(sight.admit(found[0], investigation_id)), list(found[1])
    if len(phases) == _PAGE:
        phases += await phases_of(backend, investigation_id, phases[-1])
    return row, phases


@functools.cache  # there are few types, and to look at one takes longer than half a read
def _reads_overviews(backend: type[Backend]) -> bool:
    return issubclass(backend, OverviewBackend)


async def phases_of(backend: Backend, investigation_id: str, last: PhaseRow | None = None) -> list[PhaseRow]:
    """The rows of an investigation's phases, in order; of those behind `last`, if it is given."""
    found: list[PhaseRow] = []
    where = (Where("investigation_id", "=", investigation_id),)
    while True:
        after = None if last is None else (last.phase_order, last.id)
        rows = await backend.find(Query("phase", where, "phase_order", after=after, limit=_PAGE))
        found += [row for row in rows if isinstance(row, PhaseRow)]
        if len(rows) < _PAGE:
            return found
        last = found[-1]


async def texts_of(
    backend: Backend, investigation_id: str, after: int, limit: int, event_type: Sequence[str]
) -> Sequence[EventTexts]:
    """A page of what events say, as :meth:`~investigation_sdk.storage.backend.Backend.read_events` has them."""
    if _reads_texts(type(backend)):
        asked = cast("TextsBackend", backend)
        return await asked.read_texts(investigation_id, after=after, limit=limit, event_type=event_type)
    page = await backend.read_events(investigation_id, after=after, limit=limit, event_type=event_type)
    return [EventTexts(event.sequence, event.event_type, event.header, event.event_data) for event in page]


@functools.cache
def _reads_texts(backend: type[Backend]) -> bool:
    return issubclass(backend, TextsBackend)


async def payload(backend: Backend, investigation_id: str, inline: str | None, sequence: int | None, name: str) -> Any:
    """A payload of a row: what stands in the row, or else in the event that the row names; None where it has none."""
    if inline is not None:
        return stored_value(investigation_id, inline)
    if sequence is None:
        return None
    events = await backend.read_events(investigation_id, after=sequence - 1, limit=1)
    if not events or events[0].sequence != sequence:
        return None
    with readable(investigation_id, sequence):
        data = known_data(events[0])
        return decode(json.dumps(data[name], ensure_ascii=False)) if name in data else None


def known_data(stored: StoredEvent) -> dict[str, Any]:
    """The data of a stored event, parsed, as the newest schema that is known has it.

    Raises:
        ValueError: header or data are not JSON objects.
        SchemaMismatch: it is of a schema that only a newer SDK knows.
    """
    header: dict[str, Any] = json.loads(stored.header)
    return upcast(header["type"], header["schema"], json.loads(stored.event_data))


def has_large(value: Any) -> bool:
    """Whether a part of a record is, or has among its members, what stands in a blob."""
    if isinstance(value, dict):
        return any(map(has_large, cast("Any", value).values()))
    return isinstance(value, LargePayload)


async def whole(backend: Backend, investigation_id: str, value: Any) -> Any:
    """`value`, a part of a record, with all of it that stands in blobs.

    Raises:
        RecordUnreadable: a blob is missing, or is not what the log says.
    """
    if isinstance(value, LargePayload):
        return await _large(backend, investigation_id, value)
    if not has_large(value):
        return value
    members: dict[Any, Any] = value
    if members.keys() == {""}:  # of an object that stands in one blob: a record has it so, to be an object too
        return await whole(backend, investigation_id, members[""])
    return {name: await whole(backend, investigation_id, member) for name, member in members.items()}


async def _large(backend: Backend, investigation_id: str, large: LargePayload) -> Any:
    data = bytearray()
    async for chunk in backend.read_blob(investigation_id, large.digest):
        data += chunk
        if len(data) > large.bytes:
            break
    if hashlib.sha256(data).hexdigest() != large.digest:
        what = "has other bytes there" if data else "does not have it"
        raise unreadable(
            investigation_id, None, f"a payload of {large.bytes:,} bytes, digest {large.digest}: the store {what}"
        )
    return decode(data.decode())


def to_event(stored: StoredEvent) -> Event:
    """The event that a stored one is, upcast to today's schema, its payloads left as JSON text.

    Raises:
        RecordUnreadable: its header or data are not what the SDK writes.
        SchemaMismatch: it needs a newer version of the SDK.
    """
    with readable(stored.investigation_id, stored.sequence):
        return _to_event(stored)


def _to_event(stored: StoredEvent) -> Event:
    header: dict[str, Any] = json.loads(stored.header)
    data: dict[str, Any] = json.loads(stored.event_data)
    _check_known(header)
    try:
        data = upcast(header["type"], header["schema"], data)
    except SchemaMismatch as newer:
        raise _needs_upgrade(header) from newer
    tagged = '"$type"' in stored.event_data
    for name, value in data.items():
        if name in _PAYLOADS:
            data[name] = Json(to_json(value).decode())  # as `codec.encode` had written it
        elif tagged and isinstance(value, dict | list):
            data[name] = decode(to_json(value).decode())  # e.g. a name with a NUL in it
    event = Event(
        header["id"],
        header["type"],
        data,
        header["at"],
        text=stored.event_data,
        actor=header.get("actor"),
        previous_state=_state(header.get("previous_state")),
        new_state=_state(header.get("new_state")),
        parent_call=header.get("parent_call"),
    )
    event.metadata = header.get("metadata")
    event.schema_version = header["schema"]
    event.sequence = header["sequence"]
    event.at = header["at"]
    event.attempt = header["attempt"]
    return event


def _check_known(header: dict[str, Any]) -> None:
    """An event of a type that is not known changes nothing, unless its writer marked it as critical."""
    metadata: dict[str, Any] = header.get("metadata") or {}
    critical = metadata.get("critical") and header["type"] not in SCHEMA_VERSIONS
    if header["v"] > FORMAT_VERSION or critical:
        raise _needs_upgrade(header)


def _needs_upgrade(header: dict[str, Any]) -> SchemaMismatch:
    return SchemaMismatch(
        f"Event {header['sequence']} ({header['type']}) of investigation {header['investigation']} was written by "
        "a newer version and cannot be left out: upgrade investigation-sdk.",
        investigation_id=header["investigation"],
    )


def _state(name: str | None) -> InvestigationState | None:
    return None if name is None else InvestigationState(name)
