"""The desk: what one SDK object knows of its handlers and of its engine, and how it runs an investigation."""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from investigation_sdk.clock import now_us, to_datetime
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.engine import keys, opening, reading
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.errors import ConfigurationError, InvestigationBusy
from investigation_sdk.ids import canonical
from investigation_sdk.realtime.hub import Hub
from investigation_sdk.recording.driver import Options
from investigation_sdk.storage.commit import Lease
from investigation_sdk.work.apart import Apart, Begun
from investigation_sdk.work.attempt import Attempt
from investigation_sdk.work.dispatch import Dispatcher, Executed, ExecutingDispatcher, Outcome
from investigation_sdk.work.handlers import Investigators
from investigation_sdk.work.worker import Worker

_log = logging.getLogger("investigation_sdk.work")

_RESTS: Final[Mapping[str, Outcome]] = {
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "paused": "paused",
}
"""States in which nothing is to be done, unless it can be taken up."""


class Desk:
    """See the module.

    Args:
        hub: Of the SDK, as it is now: it may work on another store later.
    """

    def __init__(self, hub: Callable[[], Hub], options: Options, dispatcher: Dispatcher | None) -> None:
        self.investigators: Investigators = Investigators()
        self.dispatcher = dispatcher
        self._hub = hub
        self._options = options
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        if isinstance(dispatcher, ExecutingDispatcher):
            dispatcher.bind(self.execute)

    @property
    def _recorder(self) -> Recorder:
        return self._hub().recorder

    # ---- telling

    async def claimable(self, row: InvestigationRow) -> None:
        """An investigation can be taken up: tell the workers of this process, and the engine, if there is one."""
        if row.claimable_at is None:
            return
        await self._tell(row.id, row.investigation_type, to_datetime(row.claimable_at) if row.claimable_at else None)

    async def ended(self, executed: Executed, investigation_type: str) -> None:
        """A run has ended: where it is to be tried again, tell the engine."""
        if executed.outcome == "queued":
            await self._tell(executed.investigation_id, investigation_type, executed.again_at)

    async def _tell(self, id: str, investigation_type: str, not_before: datetime | None) -> None:
        for worker in list(self._workers):
            worker.nudge()
        if self.dispatcher is None:
            return
        try:
            await self.dispatcher.dispatch(id, investigation_type, not_before=not_before)
        except Exception:
            _log.exception(
                "Investigation %s is queued, and the dispatcher could not tell the engine. Submit it again by its key, "
                "or run a sdk.worker(), which finds it by itself.",
                id,
                extra={"investigation_id": id},
            )

    # ---- running

    def attempt(self, investigation_type: str, lease: Lease, skew: int) -> Attempt:
        """A run of the handler of a type on what is leased."""
        investigator = self.investigators.of(investigation_type)
        return Attempt(self._recorder, self._options, investigator, lease, skew, self.ended)

    def worker(
        self, *, concurrency: int, types: Sequence[str] | None, limits: Mapping[str, int], patience: float
    ) -> Worker:
        """A worker for these types, or all that have handlers.

        Raises:
            ConfigurationError: there is no handler, or none of one of the types.
        """
        wanted = list(dict.fromkeys(self.investigators.by_type if types is None else types))
        for one in (*wanted, *limits):
            self.investigators.of(one)
        if not wanted:
            raise ConfigurationError(
                "this process has no handlers, so a worker would do nothing; register them by @sdk.investigator(type), "
                "and import their modules before sdk.worker()"
            )
        worker = Worker(
            self._hub(),
            self.attempt,
            concurrency=concurrency,
            types=wanted,
            limits=limits,
            patience=patience,
        )
        self._workers.add(worker)
        return worker

    def execute(self, investigation_id: str) -> Executed:
        """Run one, and block until that has ended: see :class:`~investigation_sdk.work.dispatch.ExecutingDispatcher`.

        Raises:
            InvestigationNotFound: there is none of that id.
            ConfigurationError: this process has no handler for its type.
            BackendUnavailable: the store does not answer.
        """
        return Apart(functools.partial(self._execute, investigation_id)).wait()

    async def _execute(self, investigation_id: str, begun: Begun) -> Executed:
        id, recorder = canonical(investigation_id), self._recorder
        row = await recorder.acall(keys.mended(recorder, lambda: reading.get_row(recorder.backend, id, recorder.sight)))
        self.investigators.of(row.investigation_type)
        nothing_to_do = _RESTS.get(row.status)
        if nothing_to_do is not None and row.claimable_at is None:  # delivered once more, or late
            return Executed(id, nothing_to_do)
        asked_at = now_us()
        try:
            lease, _ = await recorder.acall(opening.leased(recorder, id, 0))
        except InvestigationBusy:
            return Executed(id, "busy")
        skew = lease.expires_at - recorder.ttl_us - (asked_at + now_us()) // 2
        attempt = self.attempt(row.investigation_type, lease, skew)
        begun(attempt)
        return await attempt.run()
