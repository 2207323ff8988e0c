"""The JSON text of what goes into the log, and what stands there instead where a store cannot take it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from investigation_sdk.domain.commands import Fact, Fail, Finish, Submission
from investigation_sdk.domain.events import Blob, Event
from investigation_sdk.errors import InvestigationError
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.codec import Json, encode, object_text

_PAYLOADS: Final = ("input", "output", "data", "result", "summary", "error")
_NOT_STORED: Final = "not_stored"


def json_text(payload: Any) -> str:
    """A payload's JSON text: as it is where it is text already, else encoded. Plain text: a store may keep it for
    long, and the garbage collector does not look into that."""
    return str(payload if type(payload) is Json else encode(payload).text)


def event_text(event: Event) -> str:
    """The JSON text of an event's data; lone surrogates, which are not text, become escapes."""
    text = object_text(event.data)
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return text


def clean(text: str) -> str:
    """Text that every store takes: lone surrogates and NUL become visible escapes. For names and messages."""
    if "\0" not in text and text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def not_stored(fact: Fact, error: InvestigationError) -> Fact | None:
    """A warning that a fact, or its payload, could not be stored; None for such a warning itself."""
    event = fact.event
    if event.type == "recorder.warning" and event.data.get("kind") == _NOT_STORED:
        return None
    data = {"kind": _NOT_STORED, "event": event.id, "event_type": event.type, "message": str(error)[:1000]}
    return Fact(Event(uuid7(), "recorder.warning", data, event.time, parent_call=event.parent_call), fact.token)


def without_payload(submission: Submission, reason: str) -> bool:
    """Put a note in the place of the payloads of what has happened already; whether there were any.

    Other commands have none to give: whoever gave them is told, and may do without.
    """
    if type(submission) is Fact:
        return _event_without_payload(submission.event, reason)
    if isinstance(submission, Finish) and submission.result is not None and not _is_note(submission.result):
        submission.result = _note(submission.result, reason, submission.blobs)
        submission.blobs = ()
        return True
    if isinstance(submission, Fail) and submission.error.get("type") != _UNSTORABLE:
        submission.error = _error(reason)
        return True
    return False


_UNSTORABLE: Final = "Unstorable"


def _event_without_payload(event: Event, reason: str) -> bool:
    data = event.data
    if not data and event.text is not None:  # a user's own event: its text is its payload
        event.data = _note(Json(event.text), reason, event.blobs)
        event.text, event.blobs = None, ()
        return True
    found = False
    for name in _PAYLOADS:
        value = data.get(name)
        if value is not None and not _is_note(value):
            data[name] = _error(reason) if name == "error" else _note(value, reason, event.blobs)
            event.text = None
            found = True
    event.blobs = ()
    return found


def _note(value: Any, reason: str, blobs: Sequence[Blob]) -> dict[str, Any]:
    size = len(json_text(value)) + sum(len(blob.data) for blob in blobs)
    return {"$type": "unstorable", "characters": size, "reason": _plain(reason)}


def _error(reason: str) -> dict[str, Any]:
    return {"type": _UNSTORABLE, "message": _plain(reason)}


def _is_note(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    note = cast("dict[str, Any]", value)
    return note.get("$type") == "unstorable" or note.get("type") == _UNSTORABLE


def _plain(reason: str) -> str:
    """The beginning of a store's message, which may quote the very characters that it did not take."""
    return reason[:200].encode("ascii", "backslashreplace").decode()
