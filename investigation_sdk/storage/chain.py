"""The hash chain: how an event becomes bytes, and how anyone checks them.

The *header* is canonical JSON (RFC 8785: members sorted, no white space; only text, integers, booleans
and objects of such occur in it, under ASCII names) with these members; one whose value is null is left out:

``actor, at (µs), attempt, id, investigation, metadata, new_state, parent_call, previous_state, schema (version of
the type's data), sequence, tenant, type, v (version of this format)``

The hash of an event is ``SHA-256(hash of the event before ‖ len(header) ‖ header ‖ len(event_data) ‖ event_data)``,
both texts as UTF-8, lengths as 8 bytes big-endian; before the first event stand 32 zero bytes. Test vectors:
``tests/vectors/chain.json``.
"""

from __future__ import annotations

import hashlib
import json
from struct import Struct
from typing import Any, cast

from investigation_sdk.domain.events import FORMAT_VERSION, Event
from investigation_sdk.storage.commit import StoredEvent

_length = Struct(">Q").pack
_sha256 = hashlib.sha256
_new: Any = cast("Any", tuple).__new__  # a third faster than calling a named tuple
_quote = json.encoder.encode_basestring  # RFC 8785 keeps non-ASCII characters as they are


def canonical_object(value: Any) -> str:
    """Canonical JSON of an object of text, integers, booleans and such objects."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def link(previous: bytes, header: str, event_data: str) -> bytes:
    """The hash of an event, 32 bytes, from that of the one before."""
    head = header.encode()
    data = event_data.encode()
    return _sha256(b"".join((previous, _length(len(head)), head, _length(len(data)), data))).digest()


def seal(investigation_id: str, tenant: str, event: Event, event_data: str, previous: bytes) -> StoredEvent:
    """An event as it is stored: header made, hash chained.

    Raises:
        UnicodeEncodeError: the actor or the data contain lone surrogates.
    """
    actor = event.actor
    metadata = old = new = None
    before = middle = of = ""
    if actor is not None:
        before = f'"actor":{_quote(actor)},'
    if event.metadata is not None:
        metadata = canonical_object(event.metadata)
        middle = f'"metadata":{metadata},'
    if event.new_state is not None:
        new = event.new_state._value_
        middle += f'"new_state":"{new}",'
    if event.parent_call is not None:
        middle += f'"parent_call":"{event.parent_call}",'
    if event.previous_state is not None:
        old = event.previous_state._value_
        middle += f'"previous_state":"{old}",'
    if tenant:
        of = f'"tenant":{_quote(tenant)},'
    id = event.id
    type = event.type
    at = event.at
    sequence = event.sequence
    header = (
        f'{{{before}"at":{at},"attempt":{event.attempt},"id":"{id}","investigation":"{investigation_id}",'
        f'{middle}"schema":{event.schema_version},"sequence":{sequence},{of}"type":"{type}","v":{FORMAT_VERSION}}}'
    )
    values = (
        investigation_id,
        sequence,
        id,
        type,
        at,
        actor,
        old,
        new,
        metadata,
        header,
        event_data,
        link(previous, header, event_data),
    )
    stored: StoredEvent = _new(StoredEvent, values)
    return stored
