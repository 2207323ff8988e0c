"""The monitor: looks now and then, once for all processes that use a store."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import os
import weakref
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Protocol, Self

from investigation_sdk.clock import now_us
from investigation_sdk.engine.ownership import new_owner, provably_dead, retire
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.errors import ConfigurationError, InvestigationError
from investigation_sdk.storage.commit import Lease
from investigation_sdk.telemetry.monitor.alerts import Alert, AlertBook, Look, Partial, Rule
from investigation_sdk.telemetry.monitor.options import count_option, name_option
from investigation_sdk.telemetry.monitor.retention import oldest_ended
from investigation_sdk.telemetry.monitor.rules import Degraded, Failed, HighRetryRate, Stuck
from investigation_sdk.telemetry.monitor.sinks import Delivery, LogSink, Sink, close_all
from investigation_sdk.telemetry.setup import metrics_for

_log = logging.getLogger("investigation_sdk.alerts")
_DRAIN_SECONDS: Final = 5.0


class _Watched(Protocol):
    """An :class:`~investigation_sdk.InvestigationSDK`."""

    _recorder: Recorder


class Monitor:
    """Applies rules to the investigations of a store, and tells sinks of alerts that fire or are resolved.

    ``async with Monitor(sdk):`` in any process that uses the store, in as many as you like: a lease sees to it that
    one of them looks at a time. Which alerts fire is known by the one that looks, and forgotten when it looks no more.
    Another that takes over fires those that still hold again, under the same keys; what was over before it first
    looked is told as resolved by nobody.

    Args:
        sdk: Whose investigations; with a tenant, only that tenant's.
        rules: None: :class:`Failed`, :class:`Stuck`, :class:`HighRetryRate` and :class:`Degraded`, as they come.
        sinks: None: the log.
        every: How often it looks.
        fire_after: Rounds in a row in which something is found before it fires.
        resolve_after: Rounds in a row in which it is not found before it is resolved.
        name: One of those with the same name looks at a time. None: a name made of the rules and their options, so
            that monitors with different rules do not keep each other from looking.
        clock: Gives the time in µs.

    Raises:
        ConfigurationError: an option will not do.
    """

    def __init__(
        self,
        sdk: _Watched,
        *,
        rules: Sequence[Rule] | None = None,
        sinks: Sequence[Sink] | None = None,
        every: timedelta = timedelta(seconds=30),
        fire_after: int = 1,
        resolve_after: int = 2,
        name: str | None = None,
        clock: Callable[[], int] = now_us,
    ) -> None:
        if every < timedelta(milliseconds=10):
            raise ConfigurationError(f"every={every} is too often; at least 10 ms")
        count_option("Monitor", "fire_after", fire_after)
        count_option("Monitor", "resolve_after", resolve_after)
        if name is not None:
            name_option("Monitor", name)
            if ":" in name:
                raise ConfigurationError(f"Monitor: name={name!r} has a colon in it; leave it out")
        chosen = (Failed(), Stuck(), HighRetryRate(), Degraded()) if rules is None else tuple(rules)
        self._sdk = sdk
        self._books = [
            (rule, AlertBook(rule.name, fire_after=fire_after, resolve_after=resolve_after)) for rule in chosen
        ]
        self._deliveries = [Delivery(sink) for sink in ((LogSink(),) if sinks is None else sinks)]
        self._name = name or _name_of(chosen)
        self._every = every
        self._clock = clock
        self._owner = ""
        self._lease: Lease | None = None
        self._task: asyncio.Task[None] | None = None
        _all.add(self)

    @property
    def firing(self) -> list[Alert]:
        """The alerts that fire, as far as this process knows."""
        return [alert for _, book in self._books for alert in book.firing]

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="investigation-monitor")
        return self

    async def __aexit__(
        self, et: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.aclose()

    async def aclose(self) -> None:
        """Let another process look, and send what is still to be sent: waits for all sinks together 5 s at most."""
        self._hand_over()
        self._forget(self._sdk._recorder)  # pyright: ignore[reportPrivateUsage]
        lease, self._lease = self._lease, None
        if lease is not None:
            retire(lease.owner)
            self._owner = ""
            with contextlib.suppress(InvestigationError):
                recorder = self._sdk._recorder  # pyright: ignore[reportPrivateUsage]
                await recorder.acall(recorder.backend.release(lease))
        await asyncio.to_thread(close_all, self._deliveries, _DRAIN_SECONDS)

    def forked(self) -> None:
        """In a forked child: what the parent has seen and has to send is the parent's."""
        self._owner, self._lease, self._task = "", None, None
        for _, book in self._books:
            book.forget()
        for delivery in self._deliveries:
            delivery.forked()

    def _hand_over(self) -> None:
        for rule, book in self._books:
            if not _everywhere(rule):
                book.forget()

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                _log.exception("The monitor could not look; it goes on.")
            await asyncio.sleep(self._every.total_seconds())

    async def look(self) -> list[Alert]:
        """One round, now: the alerts that fire or are resolved by it. Where another process looks, only those of rules
        that are asked everywhere."""
        recorder = self._sdk._recorder  # pyright: ignore[reportPrivateUsage]
        changed = await recorder.acall(self._round(recorder))
        for alert in changed:
            for delivery in self._deliveries:
                delivery.put(alert)
        return changed

    async def _round(self, recorder: Recorder) -> list[Alert]:
        for_all = await self._may_look(recorder)
        look = Look(recorder.backend, recorder.tenant, self._clock())
        if for_all:
            await self._measure(recorder, look)
        else:
            self._forget(recorder)
            self._hand_over()
        changed: list[Alert] = []
        for rule, book in self._books:
            if not for_all and not _everywhere(rule):
                continue
            try:
                found = await rule.find(look)
            except Exception:
                _log.exception("The rule %s failed; its alerts stay as they are.", rule.name)
                continue
            if isinstance(found, Partial):
                _log.warning("The rule %s finds more than it can see; none of its alerts is resolved now.", rule.name)
            changed += book.update(found, look.now)
        return changed

    async def _measure(self, recorder: Recorder, look: Look) -> None:
        metrics = metrics_for(recorder)
        if metrics is None:
            return
        try:
            oldest = await oldest_ended(look)
        except Exception:
            _log.exception("The age of the oldest finished investigation could not be found.")
            oldest = None
        metrics.oldest(self, None if oldest is None else (look.now - oldest[1]) / 1e6)

    def _forget(self, recorder: Recorder) -> None:
        metrics = metrics_for(recorder)
        if metrics is not None:
            metrics.oldest(self, None)

    async def _may_look(self, recorder: Recorder) -> bool:
        """Whether this process has the lease, for three rounds from now."""
        resource = f"monitor:{self._name}:{recorder.tenant}"
        ttl = 3 * (self._every // timedelta(microseconds=1)) + 10_000_000
        self._owner = self._owner or new_owner()
        lease = await recorder.backend.claim(resource, self._owner, ttl=ttl)
        if lease is None:
            holder: Any = await recorder.backend.holder(resource)
            if holder is not None and provably_dead(holder.owner):
                await recorder.backend.release(holder)
                lease = await recorder.backend.claim(resource, self._owner, ttl=ttl)
        if lease is None and self._lease is not None:
            _log.info("Another process watches the investigations of this store now.")
        self._lease = lease
        return lease is not None


def _everywhere(rule: Rule) -> bool:
    return bool(getattr(rule, "everywhere", False))


def _name_of(rules: Sequence[Rule]) -> str:
    """The same for the same rules in any process; those that are asked everywhere need no lease."""
    said = sorted(
        repr((type(rule).__module__, type(rule).__qualname__, rule.name, _options(rule)))
        for rule in rules
        if not _everywhere(rule)
    )
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


def _options(rule: object) -> list[tuple[str, str]]:
    if not dataclasses.is_dataclass(rule):
        return []
    options = [(option.name, getattr(rule, option.name)) for option in dataclasses.fields(rule)]
    return [(name, repr(value)) for name, value in options if isinstance(value, _PLAIN)]


_PLAIN: Final = (str, int, float, timedelta, type(None))
_all: weakref.WeakSet[Monitor] = weakref.WeakSet()


def _after_fork() -> None:
    for monitor in list(_all):
        monitor.forked()


os.register_at_fork(after_in_child=_after_fork)
