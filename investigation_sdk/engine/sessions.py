"""The sessions of this process, by the ids of their investigations, and who is told of what they commit."""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections.abc import Callable, Sequence

from investigation_sdk.engine.entries import SPOOL_LIMIT
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.snapshots import EVERY
from investigation_sdk.errors import InvestigationError
from investigation_sdk.storage.commit import StoredEvent

Observer = Callable[[Session, Sequence[StoredEvent]], None]

_log = logging.getLogger("investigation_sdk.engine")


class Sessions:
    """See the module. Whoever uses a session holds it: here it is known only for as long as that.

    Attributes:
        snapshot_every: After how many events a session makes a snapshot; 0: never.
        spool_limit: How many events of each may wait to be durable.
    """

    def __init__(self) -> None:
        self.snapshot_every: int = EVERY
        self.spool_limit: int = SPOOL_LIMIT
        self._known: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()
        self._observers: list[Observer] = []

    def add(self, session: Session) -> Session:
        """Make a session known: to commands from this process, and to those who watch."""
        session.snapshot_every = self.snapshot_every
        session.spool_limit = self.spool_limit
        if self._observers:
            session.on_commit = functools.partial(self._committed, weakref.ref(session))
        self._known[session.id] = session
        return session

    def get(self, investigation_id: str) -> Session | None:
        """The session of an investigation, where there is one that can still be used."""
        session = self._known.get(investigation_id)
        return None if session is None or session.broken is not None or session.abandoned else session

    def forget(self, session: Session) -> None:
        """It is not found any more."""
        self._known.pop(session.id, None)

    def behind(self) -> list[Session]:
        """Those of which something is not durable yet."""
        return [s for s in list(self._known.values()) if s.behind and not s.abandoned]

    @property
    def queued(self) -> int:
        """Events that are not durable yet."""
        return sum(session.queued_events for session in self.behind())

    def observe(self, observer: Observer) -> None:
        """Call `observer` with a session and the events of each of its commits; it must be quick."""
        self._observers.append(observer)
        for session in list(self._known.values()):
            self.add(session)

    def _committed(self, reference: weakref.ref[Session], events: Sequence[StoredEvent]) -> None:
        session = reference()
        if session is None:
            return
        for observer in self._observers:
            try:
                observer(session, events)
            except Exception:
                _log.exception(
                    "An observer failed; the record is not concerned.", extra={"investigation_id": session.id}
                )

    def forked(self) -> None:
        """In a forked child: the parent's sessions are not this process's, and take nothing more."""
        for session in list(self._known.values()):
            session.lock = threading.RLock()
            session.abandoned = True
            session.broken = InvestigationError(
                f"This process was forked from the one that drives investigation {session.id}; nothing that is done "
                "with the parent's block here is recorded. Open an investigation of its own in the child.",
                investigation_id=session.id,
            )
        self._known = weakref.WeakValueDictionary()
