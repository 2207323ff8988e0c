"""Payloads: values as they stand in an event, or, where they are too large for that, beside it as blobs.

In the place of a blob stands a reference, ``{"$type":"blob","bytes":…,"digest":…}``, which is hashed with the event;
so the chain covers what is in the blob. Encoding takes three to seven times the size of the text in memory, for as
long as it lasts; then the blob is kept once, until it is durable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from investigation_sdk.domain.events import Blob
from investigation_sdk.errors import PayloadTooLarge
from investigation_sdk.storage.codec import Json, encode
from investigation_sdk.storage.tags import TAG

MAX_PAYLOAD: Final = 64 * 1024 * 1024
"""Bytes of JSON in UTF-8 that one payload has at most."""

_WORTH_A_BLOB: Final = 1024
"""Bytes of a member from which a reference in its place saves something."""


class Payload(NamedTuple):
    """A value as it is recorded."""

    text: Json
    """What stands in the event."""
    rebuildable: bool
    """As :class:`~investigation_sdk.storage.codec.Encoded` says."""
    warnings: tuple[str, ...]
    blobs: tuple[Blob, ...] = ()
    """What `text` refers to."""


def is_rebuildable(value: Any) -> bool:
    """Whether all of `value` can be given back.

    Raises:
        PayloadTooLarge: it cannot be recorded at all.
    """
    return encode(value, max_bytes=MAX_PAYLOAD).rebuildable


def pack(value: Any, inline: int) -> Payload:
    """`value` as its text, or as a reference where that has more than `inline` bytes.

    Raises:
        PayloadTooLarge: it has more than `MAX_PAYLOAD` bytes.
    """
    try:
        return Payload(*encode(value, max_bytes=inline))
    except PayloadTooLarge:
        text, rebuildable, warnings = encode(value, max_bytes=MAX_PAYLOAD)
    blob = _blob(text.encode())
    return Payload(_reference(blob), rebuildable, warnings, (blob,))


def pack_or_note(value: Any, inline: int) -> Payload:
    """As :func:`pack`; what is too large gives way to a note, and a warning says so."""
    try:
        return pack(value, inline)
    except PayloadTooLarge as error:
        return _note(error)


def pack_members(members: Mapping[str, Any], inline: int, *, note: bool = False) -> Payload:
    """An object as its text, with references in the place of its largest members where it has more than `inline` bytes.

    So it stays an object with all its names, and a document that many calls are given is stored once.

    Args:
        members: by name. A :class:`Json` stands as it is, any other value is encoded.
        inline: bytes.
        note: Put a note in the place of a member that is too large, instead of raising.

    Raises:
        PayloadTooLarge: all of them together have more than `MAX_PAYLOAD` bytes.
    """
    if Json not in map(type, members.values()):
        try:
            return Payload(*encode(members, max_bytes=inline))
        except PayloadTooLarge:
            pass
    packed = _encoded_members(members, note=note)
    texts = {name: one.text for name, one in packed.items()}
    whole = _object(texts)
    rest = len(whole.encode())
    blobs: list[Blob] = []
    if rest > inline:
        datas = {name: text.encode() for name, text in texts.items()}
        for name, data in sorted(datas.items(), key=lambda item: -len(item[1])):
            if rest <= inline or len(data) < _WORTH_A_BLOB:
                break
            blobs.append(_blob(data))
            texts[name] = _reference(blobs[-1])
            rest -= len(data) - len(texts[name])
        if rest > inline or "" in texts:  # very many members; or one whose name means, where it is read, all of them
            blobs = [_blob(whole.encode())]
            whole = _reference(blobs[0])
        else:
            whole = _object(texts)
    warnings = dict.fromkeys(warning for one in packed.values() for warning in one.warnings)
    rebuildable = all(one.rebuildable for one in packed.values())
    return Payload(whole, rebuildable, tuple(warnings), tuple(blobs))


def _encoded_members(members: Mapping[str, Any], *, note: bool) -> dict[str, Payload]:
    left = MAX_PAYLOAD
    packed: dict[str, Payload] = {}
    for name, value in members.items():
        try:
            one = Payload(value, True, ()) if type(value) is Json else Payload(*encode(value, max_bytes=left))
            left -= len(one.text)
        except PayloadTooLarge as error:
            if not note:
                raise
            one = _note(error)
        packed[name] = one
    return packed


def _object(texts: Mapping[str, Json]) -> Json:
    """The object of these members; one with names that cannot stand in JSON is tagged, as `encode` does it."""
    names = {name: encode(name).text for name in texts}
    if all(text[0] == '"' for text in names.values()) and TAG not in names:
        return Json("{" + ",".join(f"{names[name]}:{text}" for name, text in texts.items()) + "}")
    items = ",".join(f"[{names[name]},{text}]" for name, text in texts.items())
    return Json(f'{{"{TAG}":"dict","items":[{items}]}}')


def _blob(data: bytes) -> Blob:
    return Blob(hashlib.sha256(data).hexdigest(), data)


def _reference(blob: Blob) -> Json:
    return Json(f'{{"{TAG}":"blob","bytes":{len(blob.data)},"digest":"{blob.digest}"}}')


def _note(error: PayloadTooLarge) -> Payload:
    return Payload(Json(f'{{"{TAG}":"too_large","limit":{MAX_PAYLOAD}}}'), False, (str(error),))
