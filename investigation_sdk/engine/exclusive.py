"""Exclusive: one thing at a time is done to a session, even on one thread.

A lock that its thread may take again does not see to that: the garbage collector runs at any allocation, closes a
generator, whose clean-up may call a tool, whose record is submitted in the middle of what that thread was doing.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast

from investigation_sdk.engine import waiting
from investigation_sdk.engine.entries import Entry
from investigation_sdk.errors import InvestigationError


class Exclusive(Protocol):
    """What :func:`exclusive` needs of a session."""

    @property
    def lock(self) -> threading.RLock: ...  # noqa: D102

    deferred: list[Entry]
    broken: InvestigationError | None
    torn: bool

    def take_in(self, entry: Entry) -> None: ...  # noqa: D102

    def holds(self, entry: Entry) -> bool: ...  # noqa: D102

    def mend(self) -> None: ...  # noqa: D102

    def tell_answered(self) -> None: ...  # noqa: D102


P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=Exclusive)

busy: Final[set[Any]] = set()
"""The sessions to which something is being done."""


def take_in_deferred(session: Exclusive) -> None:
    """What was submitted by this thread in the middle of something else, now that this is done."""
    while session.deferred:
        entry = session.deferred[0]
        try:
            busy.add(session)
            if session.torn:
                session.mend()
            if session.broken is not None:
                raise session.broken
            if not session.holds(entry):
                session.take_in(entry)
        except InvestigationError as refused:
            waiting.wake(entry.refuse(refused))
        finally:
            busy.discard(session)
        del session.deferred[0]  # last: after a signal's exception in the middle of this, it is looked at again


def exclusive(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Of a session's method: what is submitted on this thread meanwhile is submitted when it is done."""

    @functools.wraps(method)
    def run(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.lock:
            if self in busy:  # a method that calls another
                return method(self, *args, **kwargs)
            try:
                try:
                    busy.add(self)
                    if self.torn:
                        self.mend()
                    return method(self, *args, **kwargs)
                finally:
                    busy.discard(self)
                    if self.deferred:
                        take_in_deferred(self)
            except BaseException:  # a signal's exception may have arrived in that very `finally`
                busy.discard(self)
                self.tell_answered()
                raise

    return cast("Callable[Concatenate[S, P], T]", run)


def may_block() -> bool:
    """Whether this thread may wait for a commit: it is not the I/O thread, and not in the middle of something that
    the I/O thread waits for."""
    if not waiting.may_block():
        return False
    for session in tuple(busy):
        lock: Any = session.lock
        if lock._is_owned():
            return False
    return True
