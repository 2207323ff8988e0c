"""Values as JSON text, and back: what a tool took and returned, exactly as it was, or marked where that cannot be.

Plain JSON (text, bools, None, lists, objects, finite floats, integers up to 2**53 either way) is stored as itself.
Everything else is tagged: an object whose member ``"$type"`` says what it is. See
:mod:`~investigation_sdk.storage.tags` for the tags, :mod:`~investigation_sdk.storage.tagging` for what user classes
become. The text is valid JSON in UTF-8 with no NUL in any form, so that every store takes it.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# Values of any type: what pyright narrows from Any it calls unknown.

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from pydantic_core import from_json

from investigation_sdk.native import not_native
from investigation_sdk.storage.shape import NO_LIMIT, shape
from investigation_sdk.storage.spelling import to_json
from investigation_sdk.storage.tagging import Tagger, too_large
from investigation_sdk.storage.tags import NOT_ALL, LargePayload, Tagged, canonical, in_order, restore, tags_in

__all__ = ["Encoded", "Json", "LargePayload", "Tagged", "decode", "digest", "encode", "object_text", "plain"]


@not_native
class Json(str):
    """Text that is JSON already."""

    __slots__ = ()


class Encoded(NamedTuple):
    """A value as text; whether `decode`, or for user classes their annotation, gives it back; what was lost."""

    text: Json
    rebuildable: bool
    warnings: tuple[str, ...]


def encode(value: Any, *, max_bytes: int | None = None) -> Encoded:
    """`value` as JSON text. Never raises because of what the value is, and never consumes an iterator.

    Args:
        value: anything; containers are read, not kept.
        max_bytes: the longest text allowed, in bytes of UTF-8.

    Raises:
        PayloadTooLarge: the text is longer than `max_bytes`.
    """
    if shape(value, NO_LIMIT if max_bytes is None else max_bytes) >= 0:
        try:
            data = to_json(value)
        except Exception:  # a lone surrogate, or a container that another thread is changing
            return _encode_carefully(value, max_bytes)
        text = data.decode()
        # Looked for in the whole text, not string by string: NUL, and keys that look like tags. Found in a string
        # that means neither, it costs the careful way and changes nothing.
        if "\\u0000" not in text and '"$type"' not in text:
            if max_bytes is not None and len(data) > max_bytes:
                raise too_large(f"{len(data):,}", max_bytes)
            return _new(Encoded, (Json(text), True, ()))  # type: ignore[no-any-return]
    return _encode_carefully(value, max_bytes)


_new: Any = tuple.__new__  # a third faster than calling a named tuple


def _encode_carefully(value: Any, max_bytes: int | None) -> Encoded:
    tagger = Tagger(max_bytes)
    data = to_json(tagger.run(value))
    if max_bytes is not None and len(data) > max_bytes:
        raise too_large(f"{len(data):,}", max_bytes)
    return Encoded(Json(data.decode()), tagger.rebuildable, tagger.warnings)


def decode(text: str) -> Any:
    """The value that `text` was encoded from; a :class:`Tagged` for each part of a user class.

    Stored text is data: no tag, known, unknown or malformed, makes this import or execute anything.

    Raises:
        ValueError: the text is not JSON, repeats a key in an object, has a number beyond floats, or is nested
            deeper than about 200 levels.
    """
    try:
        tree = from_json(text, allow_inf_nan=False)
        # What `encode` writes is written the same way again. Anything else gets a closer look.
        ours = to_json(tree).decode() == text
    except (ValueError, TypeError) as error:
        raise ValueError(f"not the text of a stored value: {error}") from None
    if not ours:
        _check(text)
    elif '"$type"' not in text:
        return tree
    return restore(tree)


def _check(text: str) -> None:
    """Refuse what JSON readers read in different ways."""

    def unique(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key is repeated in one object")

    def finite(number: str) -> None:
        if not math.isfinite(float(number)):
            raise ValueError("a number is too large")

    try:
        json.loads(text, object_pairs_hook=unique, parse_float=finite)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not the text of a stored value: {error}") from None


def digest(value: Any, *, key: bytes | None = None) -> str:
    """32 hexadecimal digits that equal values have in common, in whatever order their keys are.

    The first 128 bits of SHA-256, or of HMAC-SHA-256 with `key`, over the canonical text: that of `encode` with
    the keys of all objects sorted by code point. The types count: 1, 1.0, True and "1" differ. A value that is
    not rebuildable has the digest of what is stored for it, which may be an address in memory.
    """
    data = _canonical_bytes(value)
    if key is None:
        return hashlib.sha256(data).hexdigest()[:32]
    return hmac.digest(key, data, "sha256")[:16].hex()


def digest_of(text: str) -> str:
    """The :func:`digest` of the value that `text` was encoded from, if it is rebuildable.

    Raises:
        ValueError: the text is not JSON, or is not all of the value: a part of it is masked, left out, or in a blob.
    """
    return digest_of_tree(from_json(text), tagged='"$type"' in text)


def digest_of_text(text: bytes, tree: Any) -> tuple[bytes, str]:
    """The SHA-256 of a text in UTF-8 without tags, which is that of `tree`, and :func:`digest_of_tree`: where the text
    has its keys in order, that follows from the first."""
    hashed = hashlib.sha256(text)
    return hashed.digest(), hashed.hexdigest()[:32] if in_order(tree) else digest_of_tree(tree, tagged=False)


def digest_of_tree(tree: Any, *, tagged: bool = True) -> str:
    """As :func:`digest_of`, of the parsed text, which nobody else holds.

    Args:
        tree: Its objects are put in order.
        tagged: False where it is known that no part of it is tagged.

    Raises:
        ValueError: it is not all of the value.
    """
    if tagged and not NOT_ALL.isdisjoint(tags_in(tree)):
        raise ValueError("no digest can be made from a part of a value; the event has it, where there is one")
    return hashlib.sha256(canonical(tree)).hexdigest()[:32]


def _canonical_bytes(value: Any) -> bytes:
    level = shape(value, NO_LIMIT)
    if level >= 0:
        try:
            if level == 0:
                data = to_json(dict(sorted(value.items())) if type(value) is dict else value)
            else:
                data = to_json(_sorted(value))
        except Exception:  # as in `encode`, or the caller's stack is nearly used up
            return canonical(Tagger().run(value))
        if _tagless(data):
            return data
    return canonical(Tagger().run(value))


def _tagless(data: bytes) -> bool:
    text = data.decode()
    return "\\u0000" not in text and '"$type"' not in text


def _sorted(value: Any) -> Any:
    """A list or dict with the keys of all dicts sorted; anything else as it is."""
    if type(value) is dict:
        return {
            key: _sorted(item) if type(item) is dict or type(item) is list else item
            for key, item in sorted(value.items())
        }
    return [_sorted(item) if type(item) is dict or type(item) is list else item for item in value]


def plain(value: Any) -> bool:
    """Whether `value` is plain JSON: stored as itself, without a tag."""
    if shape(value, NO_LIMIT) >= 0:
        try:
            tagless = _tagless(to_json(value))
        except Exception:  # as in `encode`
            tagless = False
        if tagless:
            return True
    tagger = Tagger()
    tagger.run(value)
    return not tagger.tagged


def object_text(members: Mapping[str, Any]) -> str:
    """The text of a JSON object with these members, in their order.

    Args:
        members: by name, an ASCII identifier. A :class:`Json` stands as it is; any other value is encoded.
    """
    if not members:
        return "{}"
    parts: list[str] = []
    for name, value in members.items():
        kind = type(value)
        if kind is str:
            text = encode_basestring_ascii(value)
            if "\\u" in text:  # not ASCII, or a control character
                text = encode(value).text
        elif kind is Json:
            text = value
        elif value is None:
            text = "null"
        elif kind is int and -9007199254740992 <= value <= 9007199254740992:
            text = int.__repr__(value)
        elif value is True:
            text = "true"
        elif value is False:
            text = "false"
        else:
            text = encode(value).text
        parts += ',"', name, '":', text
    parts[0] = '{"'
    parts.append("}")
    return "".join(parts)
