"""The live side of the SDK object: what comes, as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from investigation_sdk.arguments import POSITION, check
from investigation_sdk.domain.records import InvestigationEvent
from investigation_sdk.engine.reader import InvestigationReader
from investigation_sdk.engine.sight import Sight
from investigation_sdk.engine.tracker import ProgressTracker
from investigation_sdk.ids import Id, canonical
from investigation_sdk.realtime.brokers import Hearing
from investigation_sdk.realtime.hub import Hub
from investigation_sdk.realtime.tail import Tail, events_of


class LiveReader(InvestigationReader):
    """What is read as it is written; a base of :class:`InvestigationSDK`."""

    _hub: Hub

    @property
    def hub(self) -> Hub:
        """Where news of investigations arrive."""
        return self._hub

    @property
    def tenant(self) -> str:
        """Whose investigations these are; empty: anybody's."""
        return self._recorder.tenant

    async def tail(self, investigation_id: Id, *, after: int = 0) -> AsyncIterator[InvestigationEvent]:
        """All events behind the sequence `after`, in order and each once, and then those that come, as they come.

        It ends where the investigation is completed, failed or cancelled and all of its events were given. Whoever
        was cut off goes on with ``after=event.sequence`` of the last one; a store that does not answer is tried for
        a minute.

        Args:
            investigation_id: Which one; whoever drives it, in whatever process.
            after: 0 for all; the sequence of the last event that is known.

        Raises:
            InvestigationNotFound: there is none of that id, or it was deleted meanwhile.
            InvalidArgument: `after` is no sequence, or behind the end of the log.
            BackendUnavailable: the store does not answer.
        """
        check(after=(after, POSITION))
        tail = Tail(self._hub, canonical(investigation_id), self._sight, int(after))
        async for event in events_of(tail):
            yield event

    def hearing(self) -> Hearing:
        """By what this process hears at once of what others record, and whether it does: for a readiness probe.

        With Redis it listens as soon as the store is open, and is deaf until the server has confirmed that. With
        PostgreSQL it listens once somebody watches, and is not deaf before.
        """
        return self._hub.hearing()


class SeenReader(LiveReader):
    """What another one reads, for who sees less.

    Args:
        whole: The other one.
        sight: What is seen.
    """

    def __init__(self, whole: LiveReader, sight: Sight) -> None:
        self._recorder = whole._recorder
        self._hub = whole._hub
        self._look = whole._look
        self.tracker: ProgressTracker = whole.tracker
        self._seen_as = sight
