"""Inline: commits on the caller's own thread, to a backend that never blocks."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from investigation_sdk.engine.exclusive import busy, exclusive, take_in_deferred
from investigation_sdk.engine.outcomes import on_applied
from investigation_sdk.engine.refused import refused
from investigation_sdk.engine.repair import repair
from investigation_sdk.engine.sealing import next_commit
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.waiting import wake
from investigation_sdk.storage.backend import InlineBackend
from investigation_sdk.storage.commit import CommitStatus

T = TypeVar("T")

_APPLIED: Final = CommitStatus.APPLIED  # to look it up takes longer than all else that is asked here


def commit_queued(session: Session, backend: InlineBackend) -> bool:
    """Commit all that is queued; False where this thread is in the middle of doing something to the session."""
    with session.lock:
        if session in busy:
            return False
        try:  # as `exclusive` does
            if session.deferred:  # only after an exception in the middle of taking them in
                take_in_deferred(session)
            more = True
            while more and (session.queue or session.in_flight is not None):
                try:
                    busy.add(session)
                    if session.torn:
                        session.mend()
                    more = _commit_one(session, backend)
                finally:
                    busy.discard(session)
                    if session.deferred:
                        take_in_deferred(session)
        except BaseException:
            busy.discard(session)
            session.tell_answered()
            raise
    return True


def _commit_one(session: Session, backend: InlineBackend) -> bool:
    if session.acked_torn:
        wake(run_now(repair(session, backend)))
        return True
    commit = next_commit(session, on_users_stack=True)
    if commit is None:
        return False
    result = backend.commit_now((commit,))[0]
    status = result.status
    if status is _APPLIED:
        woken = on_applied(session)
    elif status is CommitStatus.CONFLICT:
        woken = run_now(repair(session, backend))
    else:
        woken = refused(session, result)
    if woken:
        wake(woken)
    return True


@exclusive
def refresh_now(session: Session, backend: InlineBackend) -> None:
    """Fold in what others have written."""
    wake(run_now(repair(session, backend)))


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends: one over a backend that never blocks."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("a backend that offers commit_now must not suspend in its other methods")
