"""For tests of applications: another store for a while, and a crash at a chosen point."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

from investigation_sdk.domain.events import Event
from investigation_sdk.engine import probes
from investigation_sdk.recording.driver import Driver
from investigation_sdk.sdk import InvestigationSDK
from investigation_sdk.storage.registry import create_backend


class SimulatedCrash(BaseException):
    """The process was killed, as far as the investigation in which it is raised is concerned."""


@contextlib.contextmanager
def crash_at(point: str, *, nth: int = 1) -> Generator[None]:
    """Crash at the n-th event of a type, just before it is recorded: ``crash_at("tool.completed", nth=3)``.

    That investigation's block ends with SimulatedCrash; each later call in it raises it again, should code swallow it.
    Nothing more of it is written, what was queued is lost, its lease is not given up, and its owner counts as dead,
    as after ``kill -9``.

    Args:
        nth: Which of them, counted from 1.
        point: ``tool.started``, ``tool.completed``, ``tool.failed`` or ``tool.interrupted``.

    Raises:
        ValueError: another point, or `nth` is less than 1.
    """
    points = ("tool.started", "tool.completed", "tool.failed", "tool.interrupted")
    if point not in points:
        raise ValueError(f"crash_at({point!r}): there are {', '.join(points)}")
    if nth < 1:
        raise ValueError(f"crash_at(nth={nth}): counting begins with 1")
    seen = 0
    crashed: set[str] = set()

    def probe(driver: Driver, event: Event) -> None:
        nonlocal seen
        if driver.session.id in crashed:  # somebody swallowed it: a process that was killed does not go on
            raise SimulatedCrash(message)
        if event.type != point:
            return
        seen += 1
        if seen == nth:
            crashed.add(driver.session.id)
            driver.recorder.abandon(driver.session)
            raise SimulatedCrash(message)

    message = f"simulated crash at {point} number {nth}"
    before = probes.probe
    probes.probe = probe
    try:
        yield
    finally:
        probes.probe = before


@contextlib.contextmanager
def use_backend(sdk: InvestigationSDK, url: str, **options: Any) -> Generator[InvestigationSDK]:
    """Point an application's module-level SDK at another store for a while: ``use_backend(sdk, "memory://")``.

    The other store is closed at the end; the SDK is as before.
    """
    mine: Any = sdk
    before = mine._use(create_backend(url, options))
    try:
        yield sdk
    finally:
        sdk.sync.close()
        mine._use(before)
