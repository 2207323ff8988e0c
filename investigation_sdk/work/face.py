"""The working side of the SDK object: handlers, what is submitted to them, and workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from investigation_sdk.arguments import (
    COUNT,
    COUNTS_OR_NONE,
    DURATION,
    NAMES_OR_NONE,
    SECONDS_OR_NONE,
    TEXT_OR_NONE,
    TIME_OR_NONE,
    check,
)
from investigation_sdk.domain.records import Investigation, PhasePlan
from investigation_sdk.engine import queries
from investigation_sdk.engine.creation import creation_data
from investigation_sdk.engine.texts import clean
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.ids import HasId, Id, canonical
from investigation_sdk.realtime.live import LiveReader
from investigation_sdk.recording.driver import Options
from investigation_sdk.recording.frames import current_frame
from investigation_sdk.recording.run import AsyncInvestigationRun, InvestigationRun
from investigation_sdk.work import handlers, submitting
from investigation_sdk.work.desk import Desk
from investigation_sdk.work.worker import Worker

H = TypeVar("H", bound="Callable[[InvestigationRun], Any] | Callable[[AsyncInvestigationRun], Awaitable[Any]]")


class WorkFace(LiveReader):
    """What is run by workers; a base of :class:`InvestigationSDK`."""

    _options: Options
    _desk: Desk

    def _parent(self, parent: Id | HasId | None) -> Id | HasId | None:
        frame = current_frame.get()
        if parent is None and frame is not None and frame.driver.recorder is self._recorder:
            return frame.driver.session.id
        return parent

    def investigator(
        self,
        investigation_type: str,
        *,
        phases: Sequence[str | PhasePlan] = (),
        max_recoveries: int = 5,
        retries: int = 0,
        timeout: timedelta | float | None = None,
    ) -> Callable[[H], H]:
        """Decorate what runs investigations of a type: ``handler(run)``, whose result becomes the investigation's.

        ``def`` gets an InvestigationRun, on a thread of its own; ``async def`` an AsyncInvestigationRun, on the
        worker's loop. The function stays as it is.

        Args:
            investigation_type: Of what it runs; a type has one handler.
            phases: The plan of those that are submitted without one.
            max_recoveries: How often in a row it is taken over from a worker that died without completing anything;
                then it fails, of the kind ``max_recoveries``.
            retries: How often it is tried again after an error or a timeout, with growing pauses; finished calls give
                back their results.
            timeout: Seconds, or a timedelta, that one attempt may take; then it fails, of the kind ``timeout``. A
                ``def`` handler cannot be stopped in the middle of a call; that is reported.

        Raises:
            ConfigurationError: the type has another handler.
        """
        name = handlers.checked(investigation_type, phases, max_recoveries, retries, timeout)

        def register(handler: H) -> H:
            self._desk.investigators.add(
                name, handler, phases=phases, max_recoveries=max_recoveries, retries=retries, timeout=timeout
            )
            return handler

        return register

    async def submit(
        self,
        investigation_type: str,
        subject: str,
        *,
        user_id: str | None = None,
        key: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        actor: str | None = None,
    ) -> Investigation:
        """Have an investigation run by a worker: it is queued when this returns.

        Args:
            investigation_type: Says which handler; this process need not have it.
            subject: As of :meth:`investigation`, and so are the others.
            user_id: See there.
            key: With one that names an investigation already, that one is returned as it is.
            configuration: See there.
            metadata: See there.
            priority: Those with a higher one are taken up first.
            not_before: Not before this time, by the store's clock.
            actor: Who submits it.

        Raises:
            PayloadTooLarge: configuration or metadata.
        """
        return await self._submit(
            investigation_type,
            subject,
            tenant=self._options.tenant,
            user_id=user_id,
            key=key,
            configuration=configuration,
            metadata=metadata,
            priority=priority,
            not_before=not_before,
            actor=actor,
        )

    async def _submit(
        self,
        investigation_type: str,
        subject: str,
        *,
        tenant: str,
        user_id: str | None,
        key: str | None,
        configuration: Mapping[str, Any] | None,
        metadata: Mapping[str, Any] | None,
        priority: int,
        not_before: datetime | None,
        actor: str | None,
    ) -> Investigation:
        check(priority=(priority, COUNT), not_before=(not_before, TIME_OR_NONE), actor=(actor, TEXT_OR_NONE))
        known = self._desk.investigators.by_type.get(investigation_type)
        creation = creation_data(
            subject=subject,
            investigation_type=investigation_type,
            user_id=user_id,
            key=key,
            configuration=configuration,
            metadata=metadata,
            phases=() if known is None else known.phases,
            parent=self._parent(None),
            inline=self._options.max_inline_bytes,
        )
        recorder = self._recorder
        submitted = submitting.submit(
            recorder,
            submitting.with_priority(creation, priority),
            tenant=tenant,
            actor=None if actor is None else clean(actor),
            not_before=not_before,
            trace=recorder.trace(),
        )
        row = await recorder.acall(submitted)
        await self._desk.claimable(row)
        return queries.investigation(row)

    async def wait(self, investigation_id: Id, *, timeout: float | None = None) -> Investigation:
        """Wait until it is completed, failed or cancelled, whoever runs it.

        Args:
            investigation_id: Which one.
            timeout: Seconds; None: as long as it takes.

        Raises:
            InvestigationNotFound: there is none of that id.
            TimeoutError: it has not ended by then; it goes on.
        """
        check(timeout=(timeout, SECONDS_OR_NONE))
        id = canonical(investigation_id)
        return await self._recorder.acall(submitting.wait(self._hub, id, self._recorder.sight, timeout))

    def worker(
        self,
        *,
        concurrency: int = 100,
        types: Sequence[str] | None = None,
        limits: Mapping[str, int] | None = None,
        patience: timedelta = timedelta(seconds=20),
    ) -> Worker:
        """A worker in this process: ``async with sdk.worker():``, or ``sdk.worker().run()``, which blocks.

        Args:
            concurrency: How many investigations it runs at a time.
            types: Which ones; None: all that have a handler in this process.
            limits: By type, how many of those at a time, in this worker.
            patience: How long those that run may go on when it is told to end; then they stop at their next boundary,
                and another worker takes them up where they are.

        Raises:
            ConfigurationError: a type has no handler in this process, or nothing has.
        """
        check(
            concurrency=(concurrency, COUNT),
            types=(types, NAMES_OR_NONE),
            limits=(limits, COUNTS_OR_NONE),
            patience=(patience, DURATION),
        )
        if concurrency < 1:
            raise ConfigurationError(f"concurrency={concurrency} is too small; at least 1")
        wanted = [types] if isinstance(types, str) else types
        seconds = patience.total_seconds()
        return self._desk.worker(concurrency=concurrency, types=wanted, limits=limits or {}, patience=seconds)
