"""The composition root: wires a store, the recorder and what users call. No logic of its own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from investigation_sdk.arguments import (
    COUNT,
    DURATION,
    DURATION_OR_NONE,
    FLAG,
    MAPPING_OR_NONE,
    SECONDS_OR_NONE,
    TEXT_OR_NONE,
    WHERE_CACHED,
    WORDS_OR_NONE,
    check,
    check_options,
    one_of,
)
from investigation_sdk.domain.records import (
    PhasePlan,
)
from investigation_sdk.engine.creation import creation_data
from investigation_sdk.engine.entries import SPOOL_LIMIT
from investigation_sdk.engine.hosts import shielded
from investigation_sdk.engine.recorder import EXIT_SECONDS, Recorder
from investigation_sdk.engine.service import InvestigationStateService
from investigation_sdk.engine.shell import show_command
from investigation_sdk.engine.snapshots import EVERY
from investigation_sdk.engine.tracker import ProgressTracker
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.ids import HasId, Id, canonical
from investigation_sdk.principals import PrincipalSDK
from investigation_sdk.realtime.brokers import broker_of
from investigation_sdk.realtime.hub import Hub
from investigation_sdk.realtime.redis import RedisBroker, redis_of
from investigation_sdk.realtime.redis_cache import RedisCache, store_name
from investigation_sdk.realtime.redis_results import RedisResults
from investigation_sdk.realtime.redis_states import states_of
from investigation_sdk.recording import entering
from investigation_sdk.recording.driver import Options
from investigation_sdk.recording.known import misfit
from investigation_sdk.recording.run import AsyncInvestigationRun, InvestigationRun
from investigation_sdk.recording.scope import InvestigationScope, run_in
from investigation_sdk.security.roles import Principal
from investigation_sdk.settings import Durability
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.registry import backend_of, default_url
from investigation_sdk.telemetry.setup import Telemetry, finder
from investigation_sdk.work.desk import Desk
from investigation_sdk.work.dispatch import Dispatcher
from investigation_sdk.work.face import WorkFace

if TYPE_CHECKING:
    from investigation_sdk.sync import SyncInvestigationSDK

T = TypeVar("T")


class InvestigationSDK(WorkFace):
    """A store of investigations, and everything that is done with it.

    Making one connects to nothing; the store is opened when it is first used. Used from any thread and loop.

    Args:
        url_or_backend: ``"sqlite:///fraud.db"``, ``"memory://"``, or a backend object. None: the environment's
            ``INVESTIGATION_URL``, else ``sqlite:///investigations.db``.
        durability: What is on disk when a call returns; ``INVESTIGATION_DURABILITY`` where it is not given.
        on_store_failure: ``"raise"``: NotRecorded when a record cannot be made durable. ``"continue"``: the agent goes
            on, its record is kept in memory, up to `spool_limit`, and written when the store answers; what is left out
            is counted in the record. An unsafe tool does not begin meanwhile.
        spool_limit: Events of one investigation that may wait in memory to be durable, beside 64 MB of its large
            payloads. With more, calls wait for the store; where the agent goes on without it, they are left out.
        on_pause: At a boundary of a paused investigation, wait until it is resumed, or raise InvestigationPaused.
        auto_migrate: Upgrade an older schema on opening.
        dispatcher: Tells an engine, such as Celery, of what is submitted. None: workers look into the store.
        tenant_id: Whose investigations these are: those of other tenants are not found, by key, id or otherwise.
            None: keys are those of no tenant, and investigations of all tenants are read.
        max_inline_bytes: Largest payload (JSON, UTF-8) that stands in its event, and comes with every list; larger
            ones, up to 64 MiB, are kept beside the log, and :meth:`payload` reads them.
        telemetry: How spans, metrics and log events go to OpenTelemetry. None: in the usual way, where the process
            has loaded OpenTelemetry. False: not at all.
        snapshot_every: Events between two snapshots of an investigation, which opening it starts from; 0 for none. Each
            ``checkpoint()`` makes one, too, unless it is 0.
        lease_ttl: How long an owner that is not heard of keeps an investigation; 30 s by default.
        redis: URL of a Redis server by which processes hear at once of what others record; ``INVESTIGATION_REDIS_URL``
            where it is not given. None: by PostgreSQL's own way where that is the store, else each looks at the store
            every 0.25 s. While it is away everything is slower, and nothing else.
        cache_states: Keep the states and progress of investigations that are under way in the process, and give them
            out while it hears of every change, by Redis or PostgreSQL: :meth:`get` and :meth:`progress` then look at
            the store when something changed, and every 5 s. What they give may be as old as a hint takes; reported
            progress, 5 s. ``"redis"``: keep them in Redis, too, for all processes that say so; it needs `redis`.
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
        on_store_failure: Literal["raise", "continue"] = "raise",
        spool_limit: int = SPOOL_LIMIT,
        on_pause: Literal["wait", "raise"] = "wait",
        auto_migrate: bool = False,
        dispatcher: Dispatcher | None = None,
        tenant_id: str | None = None,
        max_inline_bytes: int = 32768,
        snapshot_every: int = EVERY,
        lease_ttl: timedelta = timedelta(seconds=30),
        telemetry: Telemetry | Literal[False] | None = None,
        redis: str | None = None,
        cache_states: bool | Literal["redis"] = False,
        backend_options: Mapping[str, Any] | None = None,
    ) -> None:
        chosen = durability or os.environ.get("INVESTIGATION_DURABILITY") or Durability.SYNC
        check_options(
            on_store_failure=(on_store_failure, one_of(("raise", "continue"))),
            spool_limit=(spool_limit, COUNT),
            on_pause=(on_pause, one_of(("wait", "raise"))),
            durability=(chosen, one_of(Durability)),
            lease_ttl=(lease_ttl, DURATION),
            max_inline_bytes=(max_inline_bytes, COUNT),
            snapshot_every=(snapshot_every, COUNT),
            tenant_id=(tenant_id, WORDS_OR_NONE),
            redis=(redis, TEXT_OR_NONE),
            cache_states=(cache_states, WHERE_CACHED),
            backend_options=(backend_options, MAPPING_OR_NONE),
            auto_migrate=(auto_migrate, FLAG),
        )
        if lease_ttl < timedelta(milliseconds=100):
            raise ConfigurationError(f"lease_ttl={lease_ttl} is too short to be renewed in time; at least 0.1 s")
        if spool_limit < 10:
            raise ConfigurationError(f"spool_limit={spool_limit} is too small; at least 10")
        if snapshot_every < 0:
            raise ConfigurationError(f"snapshot_every={snapshot_every} is less than nothing; 0 is for no snapshots")
        if max_inline_bytes < 1024:
            raise ConfigurationError(f"max_inline_bytes={max_inline_bytes} is too small; at least 1024")
        self._options = Options(
            Durability(chosen), on_pause, max_inline_bytes, tenant_id or "", goes_on=on_store_failure == "continue"
        )
        self._find_tracer = finder(telemetry)
        self._ttl_us = lease_ttl // timedelta(microseconds=1)
        self._snapshot_every = snapshot_every
        self._spool_limit = spool_limit
        backend = backend_of(url_or_backend, backend_options, auto_migrate=auto_migrate)
        self._url = "" if url_or_backend is None else getattr(url_or_backend, "url", url_or_backend)
        self._redis = redis_of(redis)
        self._store = store_name(self._url or default_url(), backend_options)
        self._cache_states: bool | Literal["redis"] = cache_states
        if cache_states == "redis" and self._redis is None:
            raise ConfigurationError("cache_states='redis' needs redis=, the URL of a Redis server")
        self._cache: RedisCache | None = None
        self._recorder = self._recorder_of(backend)
        self._hub = self._hub_of(self._recorder)
        self.service = InvestigationStateService(
            self._recorder, tenant=self._options.tenant, max_inline_bytes=max_inline_bytes, misfit=misfit
        )
        self.tracker: ProgressTracker = ProgressTracker(self._recorder)
        self._keep_states()
        self._desk = Desk(lambda: self._hub, self._options, dispatcher)
        self.service._when_claimable = self._desk.claimable  # pyright: ignore[reportPrivateUsage]

    def _recorder_of(self, backend: Backend) -> Recorder:
        recorder = Recorder(backend, ttl_us=self._ttl_us, tenant=self._options.tenant)
        recorder.find_tracer = self._find_tracer
        recorder.sessions.snapshot_every = self._snapshot_every
        recorder.sessions.spool_limit = self._spool_limit
        if self._redis is not None:
            self._cache = RedisCache(self._redis, lambda: recorder.io, self._store)
            recorder.results = RedisResults(self._cache)
        return recorder

    def _hub_of(self, recorder: Recorder) -> Hub:
        broker = broker_of(recorder.backend) if self._redis is None else RedisBroker(self._redis)
        return Hub(recorder, broker, self._cache)

    def _keep_states(self) -> None:
        if self._cache_states:
            states = states_of(self._hub, self._cache if self._cache_states == "redis" else None)
            self._look = states.get_row
            self.tracker._ask(states)  # pyright: ignore[reportPrivateUsage]

    def _use(self, backend: Backend | Recorder) -> Recorder:
        """Work on another store from now on; the recorder of the one before, which stays as it is."""
        before = self._recorder
        after = backend if isinstance(backend, Recorder) else self._recorder_of(backend)
        self._recorder = after
        self._hub = self._hub_of(after)
        self.service._use(after)  # pyright: ignore[reportPrivateUsage]
        self.tracker._use(after)  # pyright: ignore[reportPrivateUsage]
        self._keep_states()
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
        check(on_finished=(on_finished, one_of(("return", "new", "error"))), wait=(wait, DURATION_OR_NONE))
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
        return InvestigationScope(
            recorder, lambda trace: entering.create(recorder, options, creation, on_finished, seconds, trace)
        )

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
        return InvestigationScope(recorder, lambda trace: entering.attach(recorder, options, id, seconds, trace))

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

    # ---- on behalf of others

    def as_principal(self, principal: Principal) -> PrincipalSDK:
        """The same SDK as far as a principal's roles reach: reading, ``submit`` and ``service``.

        AccessDenied is raised for what they do not allow, InvestigationNotFound for what is another tenant's.
        Everything that it commands is recorded with the principal as its actor.

        Args:
            principal: Who asks: as your own authentication found.

        Raises:
            AccessDenied: this SDK is bound to another tenant.
        """
        service = self.service._for(principal.tenant)  # pyright: ignore[reportPrivateUsage]
        return PrincipalSDK(self, self._recorder, service, self._submit, principal)

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
