"""Exceptions as they are recorded: what they say, unless that would give away what is sensitive."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias, cast

from investigation_sdk.engine.texts import clean
from investigation_sdk.recording.confidential import EVERYTHING, Confidential

_LIMIT: Final = 16_000
_MASKED: Final = "(masked)"
_MARK: Final = "__investigation_confidential__"
_LONGEST_CHAIN: Final = 200
_SHOWN: Final = 5


class Judgement(NamedTuple):
    """What an error that ended a block means."""

    kind: str
    """Of the failure."""
    again_at: int | None = None
    """From when on it is to be tried again, µs by the store's clock; None where it is not."""


Judge: TypeAlias = Callable[[BaseException], Judgement]


def usual_judgement(error: BaseException) -> Judgement:
    """That of a block that no worker runs."""
    return Judgement("error" if isinstance(error, Exception) else "interrupted")


def keep_confidential(error: BaseException, what: Confidential) -> None:
    """Mark an exception: wherever it, or what is raised because of it, is recorded, it must not quote `what`."""
    known = _mark_of(error)
    object.__setattr__(error, _MARK, what if known is None else known | what)


def _mark_of(error: BaseException) -> Confidential | None:
    return cast("Confidential | None", error.__dict__.get(_MARK))


def describe_error(error: BaseException) -> dict[str, Any]:
    """An exception as it is recorded: ``type``, ``message``, ``traceback``; nothing of it is ever rebuilt.

    Where it, or an exception that it came from, was raised by a tool that was given sensitive values, and a text of
    any of them quotes one, then the message is masked, and of the traceback only the places are left.
    """
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    if _tells(error):
        places = "".join(f"  {frame.filename}:{frame.lineno} in {frame.name}\n" for frame in _frames(error))
        return {"type": clean(name), "message": _MASKED, "traceback": clean(_end_of(places))}
    try:
        message = str(error) + "".join(f"; {type(e).__qualname__}: {e}" for e in _inside(error))
    except Exception as broken:
        message = f"(str() of the exception failed: {type(broken).__name__})"
    return {"type": clean(name), "message": clean(message[:_LIMIT]), "traceback": clean(_end_of(_trace(error)))}


def _trace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:
        return ""


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    return list(traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False))


def _end_of(text: str) -> str:
    return text if len(text) <= _LIMIT else f"(… {len(text) - _LIMIT} characters before)\n{text[-_LIMIT:]}"


def _tells(error: BaseException) -> bool:
    """Whether what would be recorded quotes what must not be."""
    chain = list(_chain(error))
    marks = [mark for link in chain if (mark := _mark_of(link)) is not None]
    if not marks:
        return False
    kept = marks[0] if len(chain) < _LONGEST_CHAIN else EVERYTHING
    for mark in marks[1:]:
        kept |= mark
    try:
        texts = "\n".join(text for link in chain for text in traceback.format_exception_only(link))
    except Exception:
        return True
    return kept.quoted_in(texts) or kept.spelled_out_in(_trace(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, what it came from, and the members of groups, each once."""
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left and len(seen) < _LONGEST_CHAIN:
        link = left.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        left += [link.__cause__, link.__context__]
        left += _members(link)


def _inside(error: BaseException) -> list[BaseException]:
    """The first exceptions that a group holds, however deep."""
    found: list[BaseException] = []
    groups = [error]
    while groups and len(found) < _SHOWN:
        for inner in _members(groups.pop(0)):
            (groups if _members(inner) else found).append(inner)
    return found[:_SHOWN]


def _members(error: BaseException | None) -> tuple[BaseException, ...]:
    return cast("BaseExceptionGroup[BaseException]", error).exceptions if isinstance(error, BaseExceptionGroup) else ()


_CONTROL_FLOW: Final = frozenset(
    {
        "ApprovalRequired",
        "CallDeferred",
        "GraphBubbleUp",
        "GraphInterrupt",
        "ModelRetry",
        "NodeInterrupt",
        "ParentCommand",
    }
)


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception steers the program rather than reports a failure: cancellation, exit, and the
    control-flow exceptions of agent frameworks, known by name."""
    if not isinstance(error, Exception):
        return True
    return any(cls.__name__ in _CONTROL_FLOW for cls in type(error).__mro__)


_CANCELLED: Final = ("CancelledError", "Cancelled")  # of asyncio, of trio


def was_cancelled(error: BaseException | None) -> bool:
    """Whether an exception is how asyncio or trio cancels a task; also a group of nothing else, as nurseries give."""
    members = _members(error)
    return all(map(was_cancelled, members)) if members else type(error).__name__ in _CANCELLED
