"""The composition root: wires a store, the recorder and what users call. No logic of its own."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from investigation_sdk.arguments import (
    COUNT,
    DURATION,
    DURATION_OR_NONE,
    FLAG,
    LIMIT,
    MAPPING_OR_NONE,
    NAMES_OR_NONE,
    PAGE_OR_NONE,
    POSITION,
    SECONDS_OR_NONE,
    TEXT,
    TEXT_OR_NONE,
    WORDS_OR_NONE,
    check,
    check_options,
    one_of,
)
from investigation_sdk.domain.records import (
    Investigation,
    InvestigationEvent,
    InvestigationPhase,
    Page,
    PhasePlan,
    ToolExecution,
    ToolTotals,
    VerificationReport,
)
from investigation_sdk.domain.states import Effect, InvestigationState, ToolState
from investigation_sdk.engine import queries, reading, verifying
from investigation_sdk.engine.creation import creation_data
from investigation_sdk.engine.hosts import shielded
from investigation_sdk.engine.lookup import lookup
from investigation_sdk.engine.queries import When, created_between, equals, in_states
from investigation_sdk.engine.recorder import EXIT_SECONDS, Recorder
from investigation_sdk.engine.service import InvestigationStateService
from investigation_sdk.engine.shell import show_command
from investigation_sdk.engine.texts import clean
from investigation_sdk.errors import ConfigurationError, InvalidArgument
from investigation_sdk.ids import HasId, Id, canonical
from investigation_sdk.recording import entering
from investigation_sdk.recording.context import current_frame
from investigation_sdk.recording.driver import Options
from investigation_sdk.recording.run import AsyncInvestigationRun, InvestigationRun
from investigation_sdk.recording.scope import InvestigationScope, run_in
from investigation_sdk.settings import Durability
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Where
from investigation_sdk.storage.registry import backend_of

if TYPE_CHECKING:
    from investigation_sdk.sync import SyncInvestigationSDK

T = TypeVar("T")


class InvestigationSDK:
    """A store of investigations, and everything that is done with it.

    Making one connects to nothing; the store is opened when it is first used. Used from any thread and loop.

    Args:
        url_or_backend: ``"sqlite:///fraud.db"``, ``"memory://"``, or a backend object. None: the environment's
            ``INVESTIGATION_URL``, else ``sqlite:///investigations.db``.
        durability: What is on disk when a call returns; ``INVESTIGATION_DURABILITY`` where it is not given.
        on_store_failure: ``"raise"``: NotRecorded when a record cannot be made durable.
        on_pause: At a boundary of a paused investigation, wait until it is resumed, or raise InvestigationPaused.
        auto_migrate: Upgrade an older schema on opening.
        tenant_id: Whose investigations these are: those of other tenants are not found, by key, id or otherwise.
            None: keys are those of no tenant, and investigations of all tenants are read.
        max_inline_bytes: Largest payload (JSON, UTF-8) that stands in its event, and comes with every list; larger
            ones, up to 64 MiB, are kept beside the log, and :meth:`payload` reads them.
        lease_ttl: How long an owner that is not heard of keeps an investigation; 30 s by default.
        backend_options: Options for the backend that the URL names.

    Raises:
        ConfigurationError: an unknown URL scheme or option, or a driver that is not installed.
    """

    service: InvestigationStateService
    """Commands from outside: create, pause, resume, cancel, retry, transition, report."""

    def __init__(
        self,
        url_or_backend: str | Backend | None = None,
        *,
        durability: Durability | None = None,
        on_store_failure: Literal["raise"] = "raise",
        on_pause: Literal["wait", "raise"] = "wait",
        auto_migrate: bool = False,
        tenant_id: str | None = None,
        max_inline_bytes: int = 32768,
        lease_ttl: timedelta = timedelta(seconds=30),
        backend_options: Mapping[str, Any] | None = None,
    ) -> None:
        chosen = durability or os.environ.get("INVESTIGATION_DURABILITY") or Durability.SYNC
        check_options(
            on_store_failure=(on_store_failure, one_of(("raise",))),
            on_pause=(on_pause, one_of(("wait", "raise"))),
            durability=(chosen, one_of(Durability)),
            lease_ttl=(lease_ttl, DURATION),
            max_inline_bytes=(max_inline_bytes, COUNT),
            tenant_id=(tenant_id, WORDS_OR_NONE),
            backend_options=(backend_options, MAPPING_OR_NONE),
            auto_migrate=(auto_migrate, FLAG),
        )
        if lease_ttl < timedelta(milliseconds=100):
            raise ConfigurationError(f"lease_ttl={lease_ttl} is too short to be renewed in time; at least 0.1 s")
        if max_inline_bytes < 1024:
            raise ConfigurationError(f"max_inline_bytes={max_inline_bytes} is too small; at least 1024")
        self._options = Options(Durability(chosen), on_pause, max_inline_bytes, tenant_id or "")
        self._ttl_us = lease_ttl // timedelta(microseconds=1)
        backend = backend_of(url_or_backend, backend_options, auto_migrate=auto_migrate)
        self._url = "" if url_or_backend is None else getattr(url_or_backend, "url", url_or_backend)
        self._recorder = self._recorder_of(backend)
        self.service = InvestigationStateService(
            self._recorder, tenant=self._options.tenant, max_inline_bytes=max_inline_bytes
        )

    def _recorder_of(self, backend: Backend) -> Recorder:
        return Recorder(backend, ttl_us=self._ttl_us, tenant=self._options.tenant)

    def _use(self, backend: Backend | Recorder) -> Recorder:
        """Work on another store from now on; the recorder of the one before, which stays as it is."""
        before = self._recorder
        after = backend if isinstance(backend, Recorder) else self._recorder_of(backend)
        self._recorder = after
        self.service._use(after)  # pyright: ignore[reportPrivateUsage]
        return before

    def __enter__(self) -> Self:
        self._recorder.io.call(self._recorder.opened())
        return self

    def __exit__(self, et: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None, /) -> None:
        self._recorder.flush(EXIT_SECONDS)
        self.service._hooks.drain()  # pyright: ignore[reportPrivateUsage]
        self._recorder.close()

    async def __aenter__(self) -> Self:
        await self._recorder.io.acall(self._recorder.opened())
        return self

    async def __aexit__(
        self, et: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        await self.aclose()

    @cached_property
    def sync(self) -> SyncInvestigationSDK:
        """The blocking face: the same methods, without ``await``."""
        from investigation_sdk.sync import SyncInvestigationSDK

        return SyncInvestigationSDK(self)

    # ---- driving

    def investigation(
        self,
        subject: str,
        *,
        investigation_type: str = "general",
        user_id: str | None = None,
        key: str | None = None,
        phases: Sequence[str | PhasePlan] = (),
        configuration: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        parent: Id | HasId | None = None,
        on_finished: Literal["return", "new", "error"] = "return",
        wait: timedelta | None = None,
    ) -> InvestigationScope:
        """Create an investigation, or by its key go on with one, and drive it, for ``with`` and ``async with``.

        A `key` names it in its tenant and type. One that is not finished is resumed: its calls that are recorded as
        finished give back their results instead of running again. One that is finished is opened for reading only
        (``.finished``, ``.result``), begun anew, or an error, by `on_finished`. Inside another investigation's
        block, that one is the parent.

        Args:
            subject: What is investigated, in a line.
            investigation_type: What kind it is; keys are unique within a type.
            user_id: On whose behalf.
            key: Your own name for it, such as a case number.
            phases: The plan, if it is known: names, or PhasePlan with weight and tools.
            configuration: What it runs with.
            metadata: What else is worth keeping.
            parent: The investigation that it belongs to.
            on_finished: What to do where the key names one that is completed.
            wait: How long another owner of the one that the key names is waited for, by default one lease; one that
                is provably dead on this machine is succeeded at once.

        Raises:
            InvalidArgument: on calling: an empty subject, type or key, or two phases of one name.
            PayloadTooLarge: on calling: configuration or metadata.
            InvestigationNotFound: on entering: there is no such parent.
            InvestigationBusy: on entering: another owner drives the one that the key names.
            InvestigationCancelled: on entering: the one that the key names was cancelled.
        """
        check(on_finished=(on_finished, one_of(("return", "new", "error"))))
        creation = creation_data(
            subject=subject,
            investigation_type=investigation_type,
            user_id=user_id,
            key=key,
            configuration=configuration,
            metadata=metadata,
            phases=phases,
            parent=self._parent(parent),
            inline=self._options.max_inline_bytes,
        )
        recorder, options = self._recorder, self._options
        seconds = None if wait is None else wait.total_seconds()
        return InvestigationScope(recorder, lambda: entering.create(recorder, options, creation, on_finished, seconds))

    def _parent(self, parent: Id | HasId | None) -> Id | HasId | None:
        frame = current_frame.get()
        if parent is None and frame is not None and frame.driver.recorder is self._recorder:
            return frame.driver.session.id
        return parent

    def attach(self, investigation_id: Id, *, wait: timedelta | None = None) -> InvestigationScope:
        """Drive one that exists here: created, queued, paused, failed or crashed.

        An owner that is provably dead on this machine is succeeded at once; another is waited for, `wait` long
        (by default one lease).

        Raises:
            InvestigationNotFound: on entering: there is none of that id.
            InvestigationBusy: on entering: another owner drives it.
            InvestigationFinished, InvestigationCancelled: on entering: nothing more can run in it.
        """
        check(wait=(wait, DURATION_OR_NONE))
        id = canonical(investigation_id)
        recorder, options = self._recorder, self._options
        seconds = None if wait is None else wait.total_seconds()
        return InvestigationScope(recorder, lambda: entering.attach(recorder, options, id, seconds))

    def run(
        self,
        handler: Callable[[InvestigationRun], T] | Callable[[AsyncInvestigationRun], Awaitable[T]],
        subject: str,
        *,
        key: str,
        investigation_type: str = "general",
        user_id: str | None = None,
        phases: Sequence[str | PhasePlan] = (),
        configuration: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Run a handler in the investigation of a key, or not at all: ``await sdk.run(handle, "account", key="42")``.

        Begun or resumed as by :meth:`investigation`; one that is completed gives its result, and nothing runs.

        Args:
            handler: Gets the live investigation; its result becomes the investigation's. ``def`` is called on a
                thread of its own.
            subject: As of :meth:`investigation`, and so are all others.
            key: Required: what runs once.
            investigation_type: See there.
            user_id: See there.
            phases: See there.
            configuration: See there.
            metadata: See there.

        Returns:
            What the handler returned, in this call or an earlier one.

        Raises:
            InvestigationBusy, InvestigationCancelled: as of :meth:`investigation`.
        """
        scope = self.investigation(
            subject,
            investigation_type=investigation_type,
            user_id=user_id,
            key=key,
            phases=phases,
            configuration=configuration,
            metadata=metadata,
        )
        return run_in(scope, handler)

    # ---- reading

    def _place(self, id: str) -> tuple[Backend, str, str]:
        """Where an investigation is looked for, and whose it must be."""
        return self._recorder.backend, id, self._recorder.tenant

    async def get(self, investigation_id: Id) -> Investigation:
        """One investigation, with all of its result, configuration and metadata, however large.

        Raises:
            InvestigationNotFound: there is none of that id.
        """
        id = canonical(investigation_id)
        return await self._recorder.acall(queries.whole_investigation(*self._place(id)))

    async def find(self, *, key: str, investigation_type: str = "general") -> Investigation | None:
        """The newest investigation of a key, or None."""
        check(key=(key, TEXT), investigation_type=(investigation_type, TEXT))
        backend = self._recorder.backend
        row = await self._recorder.acall(queries.find(backend, clean(key), investigation_type, self._options.tenant))
        return None if row is None else queries.investigation(row)

    async def lookup(self, reference: str, *, investigation_type: str | None = None) -> Investigation:
        """The investigation that somebody means: by its id, its key, or the beginning of its id, in this order.

        Args:
            reference: Ids may be without hyphens. Of a key, the newest investigation is meant.
            investigation_type: Where a key occurs in several types.

        Raises:
            InvestigationNotFound: there is none.
            AmbiguousReference: several are meant; `candidates` has their ids.
        """
        found = lookup(self._recorder.backend, reference, investigation_type, self._options.tenant)
        return queries.investigation(await self._recorder.acall(found))

    async def list(
        self,
        *,
        investigation_type: str | None = None,
        status: InvestigationState | Sequence[InvestigationState] | None = None,
        user_id: str | None = None,
        since: When | None = None,
        until: When | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[Investigation]:
        """Investigations, newest first; `since` and `until` bound their creation."""
        check(
            investigation_type=(investigation_type, NAMES_OR_NONE),
            user_id=(user_id, NAMES_OR_NONE),
            after=(after, PAGE_OR_NONE),
            limit=(limit, LIMIT),
        )
        wheres = [
            *created_between(since, until),
            *equals("investigation_type", investigation_type),
            *in_states("status", InvestigationState, status),
            *equals("user_id", user_id),
            *equals("tenant_id", self._options.tenant or None),
        ]
        page = queries.list_investigations(self._recorder.backend, wheres, after, limit)
        return await self._recorder.acall(page)

    async def phases(self, investigation_id: Id) -> Sequence[InvestigationPhase]:
        """All phases of an investigation, in their order."""
        id = canonical(investigation_id)
        return await self._recorder.acall(queries.list_phases(*self._place(id)))

    async def tools(
        self,
        investigation_id: Id | None = None,
        *,
        tool: str | None = None,
        agent: str | None = None,
        phase: str | None = None,
        status: ToolState | Sequence[ToolState] | None = None,
        effect: Effect | None = None,
        since: When | None = None,
        until: When | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[ToolExecution]:
        """Calls of one investigation in the order of their start, or across all, newest first.

        Args:
            investigation_id: None: across investigations; `since` is required then.
            tool: Name of the tool.
            agent: Name of the agent.
            phase: The name of a phase; needs `investigation_id`.
            status: One state, or several.
            effect: Declared effect.
            since: Calls that began at or after it.
            until: Calls that began before it.
            after: ``next`` of the page before.
            limit: Calls at most, 1 to 1000.

        Raises:
            InvalidArgument: neither an id nor `since`; or `phase` without an id.
        """
        check(
            tool=(tool, NAMES_OR_NONE),
            agent=(agent, NAMES_OR_NONE),
            phase=(phase, TEXT_OR_NONE),
            after=(after, PAGE_OR_NONE),
            limit=(limit, LIMIT),
        )
        id = None if investigation_id is None else canonical(investigation_id)
        if id is None and since is None:
            raise InvalidArgument("tools() across all investigations needs since=, for example since=timedelta(days=7)")
        if id is None and phase is not None:
            raise InvalidArgument("tools(phase=...) names a phase of one investigation; give its id too")
        wheres = [
            *equals("investigation_id", id),
            *equals("tenant_id", self._options.tenant or None),
            *created_between(since, until),
            *equals("tool_name", tool),
            *equals("agent_name", agent),
            *in_states("status", ToolState, status),
            *in_states("effect", Effect, effect),
        ]
        return await self._recorder.acall(self._tools(id, phase, wheres, after, limit))

    async def tool_totals(self, investigation_id: Id) -> Sequence[ToolTotals]:
        """What the calls of an investigation add up to, by phase, agent and tool; calls of no phase first.

        Raises:
            InvestigationNotFound: there is none of that id.
        """
        return await self._recorder.acall(queries.tool_totals(*self._place(canonical(investigation_id))))

    async def _tools(
        self, id: str | None, phase: str | None, wheres: Sequence[Where], after: str | None, limit: int
    ) -> Page[ToolExecution]:
        backend = self._recorder.backend
        if id is not None:
            await reading.get_row(*self._place(id))
            if phase is not None:
                wheres = [*wheres, Where("phase_id", "=", await queries.phase_named(backend, id, phase))]
        return await queries.list_tools(backend, wheres, after, limit, newest_first=id is None)

    async def events(
        self,
        investigation_id: Id,
        *,
        event_type: str | Sequence[str] | None = None,
        actor: str | None = None,
        after: int | str = 0,
        limit: int = 100,
    ) -> Page[InvestigationEvent]:
        """Events of an investigation behind the sequence `after`, in order."""
        check(
            event_type=(event_type, NAMES_OR_NONE),
            actor=(actor, TEXT_OR_NONE),
            after=(after, POSITION),
            limit=(limit, LIMIT),
        )
        id = canonical(investigation_id)
        page = queries.read_events(*self._place(id), _types(event_type), actor, int(after), limit)
        return await self._recorder.acall(page)

    async def iter_events(
        self, investigation_id: Id, *, event_type: str | Sequence[str] | None = None, after: int = 0
    ) -> AsyncIterator[InvestigationEvent]:
        """All events behind the sequence `after`, in order, read as they are consumed."""
        check(event_type=(event_type, NAMES_OR_NONE), after=(after, POSITION))
        id = canonical(investigation_id)
        chunks = queries.iterate_events(*self._place(id), _types(event_type), int(after))
        while True:
            chunk = await self._recorder.acall(queries.next_or_none(chunks))
            if chunk is None:
                return
            for event in chunk:
                yield event

    async def payload(self, investigation_id: Id, value: Any) -> Any:
        """What was recorded, in full: ``await sdk.payload(call.investigation_id, call.output_result)``.

        Records that come in lists have a :class:`LargePayload` in the place of what is larger than
        ``max_inline_bytes``. This gives `value`, any part of a record, with each of them read. It is checked
        against its digest.

        Raises:
            InvestigationNotFound: there is none of that id.
            InvestigationError: the store does not have what the log refers to.
        """
        backend, id, tenant = self._place(canonical(investigation_id))
        return await self._recorder.acall(queries.whole_value(backend, id, tenant, value))

    async def verify(
        self, investigation_id: Id, *, progress: Callable[[int], object] | None = None
    ) -> VerificationReport:
        """Check an investigation's chain of hashes, its columns, the payloads that are kept beside it, and the end
        that its row states.

        Without a head that was written down outside the store, a tail that was cut off together with the row
        cannot be seen; compare ``report.head`` with one that you kept.

        Args:
            investigation_id: Which one.
            progress: Called now and then with the number of events checked so far, on the SDK's own thread: to
                be quick, and not to use the SDK.
        """
        return await self._recorder.acall(verifying.verify(*self._place(canonical(investigation_id)), progress))

    # ---- the store

    def command_for(self, reference: Id | HasId) -> str | None:
        """The command that shows an investigation, such as ``investigate show case-981 --db sqlite:///fraud.db``.

        For the last line of a script. A store that was not named when this was made (the default, the
        environment's) is not named here; passwords and options in a URL become ``***``.

        Args:
            reference: Its id or key, or what has an id.

        Returns:
            The command; None where no other process can read the store: ``memory://``.
        """
        named = reference if isinstance(reference, str | uuid.UUID) else reference.id
        return show_command(str(named), self._url)

    async def flush(self, timeout: float | None = None) -> int:
        """Commit what is queued; how many events are still not durable after `timeout` seconds."""
        check(timeout=(timeout, SECONDS_OR_NONE))
        return await self._recorder.aflush(timeout)

    async def aclose(self) -> None:
        """Flush and close the store; it opens again when it is used again."""
        with shielded():
            await self._recorder.aflush(EXIT_SECONDS)
            await self.service._hooks.adrain()  # pyright: ignore[reportPrivateUsage]
            await self._recorder.aclose()


def _types(event_type: str | Sequence[str] | None) -> Sequence[str] | None:
    if event_type is None:
        return None
    return [str(event_type)] if isinstance(event_type, str) else [str(t) for t in event_type]
