"""Tracing, as the recording sees it: what a tracing system implements to be told what begins, runs and ends.

Everything is said in terms of the events that are recorded. The engine knows no tracing system;
:mod:`investigation_sdk.telemetry` brings OpenTelemetry's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from investigation_sdk.domain.events import Event


class Span(Protocol):
    """One traced piece of work. No method raises, whatever fails in the tracing system: that is for who implements this
    to see to. `end` may be called on any thread, once."""

    def enter(self) -> None:
        """What runs next in this context belongs to it."""
        ...

    def leave(self) -> None:
        """What runs next in this context belongs to what is around it again."""
        ...

    def end(self, event_type: str, data: Mapping[str, Any]) -> None:
        """It is over: with the type and the data of the event that says so."""
        ...


class Trace(Span, Protocol):
    """What is traced of one block around an investigation. Made in the context in which the block is entered."""

    def carrier(self) -> dict[str, str] | None:
        """The trace that is current where this was made, as W3C headers, to be stored; None where there is none."""
        ...

    def begin(
        self, investigation_id: str, investigation_type: str, attempt: int, earlier: Mapping[str, Any]
    ) -> dict[str, str] | None:
        """An attempt is about to begin; on the I/O thread. Again where the first way led to none.

        Args:
            investigation_id: Of the investigation.
            investigation_type: Of the investigation.
            attempt: From 1.
            earlier: What is stored of the attempt before, or of its creation: from here, or from :meth:`carrier`.

        Returns:
            The attempt's own span as W3C headers, to be stored with it; None where it is not traced.
        """
        ...

    def unopened(self, investigation_id: str | None, error: str | None) -> None:
        """Nothing is driven, whatever began: the investigation was finished before, or `error`, the type of an
        exception, kept the block from being opened. `end` is not called."""
        ...

    def paused(self, seconds: float) -> None:
        """The block has waited so long for the end of a pause, or for its own."""
        ...

    def used(self, usage: Mapping[str, Any]) -> None:
        """Usage was reported that is no call's: ``usage`` of a ``usage.reported``."""
        ...

    def phase(self, started: Event) -> Span:
        """A phase is entered: `started` is its ``phase.started``."""
        ...

    def call(self, started: Event) -> Span | None:
        """A body begins to run: `started` is the call's ``tool.started``. None where nobody listens."""
        ...


class Tracer(Protocol):
    """A tracing system."""

    def trace(self) -> Trace:
        """For a block that is about to be entered in this context."""
        ...


class StoreMeter(Protocol):
    """Measures what the writer does."""

    def committed(self, seconds: float, events: int, *, failed: bool) -> None:
        """One batch was handed to the store, and answered or failed after `seconds`."""
        ...
