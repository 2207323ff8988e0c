"""Handlers: what runs an investigation of a type, registered by ``@sdk.investigator``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from investigation_sdk.arguments import CALLABLE, TEXT, Kind, check
from investigation_sdk.domain.records import PhasePlan
from investigation_sdk.engine.creation import plan_data
from investigation_sdk.engine.texts import clean
from investigation_sdk.errors import ConfigurationError, InvalidArgument


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1000


def _span(value: Any) -> bool:
    return value is None or (isinstance(value, timedelta) and value > timedelta(0)) or _seconds(value)


def _seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9


COUNT = Kind(_count, "a whole number from 0 to 1000")
SPAN_OR_NONE = Kind(_span, "a number of seconds above 0, or such a timedelta")


@dataclass(frozen=True, slots=True)
class Investigator:
    """One handler, and how it is run.

    Attributes:
        handler: ``def`` or ``async def``, with the live investigation as its one argument.
        max_recoveries: How often in a row it is taken over from a worker that died, without a completion in between.
        retries: How often it is tried again after an error or a timeout.
        timeout: Seconds that one attempt may take; None: any.
    """

    investigation_type: str
    handler: Callable[[Any], Any]
    phases: tuple[str | PhasePlan, ...] = ()
    max_recoveries: int = 5
    retries: int = 0
    timeout: float | None = None

    @property
    def is_async(self) -> bool:
        """Whether the handler runs on the worker's loop; else it gets a thread of its own."""
        return inspect.iscoroutinefunction(self.handler) or inspect.iscoroutinefunction(type(self.handler).__call__)


@dataclass(slots=True)
class Investigators:
    """The handlers of one SDK object, by type."""

    by_type: dict[str, Investigator] = field(default_factory=dict[str, Investigator])

    def add(
        self,
        investigation_type: str,
        handler: Callable[[Any], Any],
        *,
        phases: Sequence[str | PhasePlan],
        max_recoveries: int,
        retries: int,
        timeout: timedelta | float | None,
    ) -> None:
        """Register a handler.

        Raises:
            ConfigurationError: the type has another one.
        """
        check(handler=(handler, CALLABLE))
        known = self.by_type.get(investigation_type)
        if known is not None and known.handler is not handler:
            raise ConfigurationError(
                f"{_name(handler)} and {_name(known.handler)} both investigate {investigation_type!r}; "
                "a type has one handler"
            )
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        self.by_type[investigation_type] = Investigator(
            investigation_type, handler, tuple(phases), max_recoveries, retries, seconds
        )

    def of(self, investigation_type: str) -> Investigator:
        """The handler of a type.

        Raises:
            ConfigurationError: this process has none.
        """
        found = self.by_type.get(investigation_type)
        if found is None:
            known = ", ".join(map(repr, sorted(self.by_type))) or "none"
            raise ConfigurationError(
                f"this process has no handler for investigations of type {investigation_type!r} (it has: {known}); "
                "import the module in which @sdk.investigator registers it"
            )
        return found


def checked(
    investigation_type: str,
    phases: Sequence[str | PhasePlan],
    max_recoveries: int,
    retries: int,
    timeout: timedelta | float | None,
) -> str:
    """The type as it is recorded, once all of a handler's options are found to be well.

    Raises:
        InvalidArgument: one is not.
    """
    if callable(investigation_type):
        raise InvalidArgument(
            "@sdk.investigator wants the type: @sdk.investigator('phishing')", argument="investigation_type"
        )
    check(
        investigation_type=(investigation_type, TEXT),
        max_recoveries=(max_recoveries, COUNT),
        retries=(retries, COUNT),
        timeout=(timeout, SPAN_OR_NONE),
    )
    plan_data(phases)
    return clean(investigation_type)


def _name(handler: Callable[..., Any]) -> str:
    return getattr(handler, "__qualname__", None) or repr(handler)
