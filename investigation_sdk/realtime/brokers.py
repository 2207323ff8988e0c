"""Brokers: how a process tells others where to look. Each carries hints, and may lose any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from investigation_sdk.errors import InvestigationError
from investigation_sdk.storage.backend import Backend, HintingBackend

Heard = Callable[[str | bytes], object]
"""Called with each message."""


class BrokerLost(InvestigationError):
    """The broker cannot be reached, or was lost. Messages never hold a password."""


class Broker(Protocol):
    """What carries hints between processes."""

    name: str
    """For messages: ``"redis"``, ``"postgresql"``."""
    eager: bool
    """Whether a process that only records listens, too: so that it hears at once of a pause or a cancel."""

    async def publish(self, messages: Sequence[str]) -> None:
        """Send messages of at most 1,024 bytes to whoever listens, this process included.

        Raises:
            BrokerLost: it cannot be reached; some of them may have been sent.
        """
        ...

    async def listen(self, heard: Heard, connected: Callable[[], object]) -> None:
        """Hear until that ends: call `connected` once nothing more is missed, and `heard` with each message.

        Raises:
            BrokerLost: it cannot be reached, or was lost.
        """
        ...

    async def close(self) -> None:
        """Close what was opened to publish; it is opened again when it is used again."""
        ...


class Hearing(NamedTuple):
    """Whether this process hears at once what others record."""

    broker: str | None
    """What it hears by: ``"redis"`` or ``"postgresql"``; None: it looks at the store every 0.25 s."""
    deaf: str | None
    """Why it does not hear; it looks at the store every 0.25 s then. None while all is well."""


class StoreBroker:
    """The store's own way to tell, such as LISTEN and NOTIFY of PostgreSQL."""

    eager = False  # it takes a connection of the database

    def __init__(self, backend: HintingBackend) -> None:
        self._backend = backend
        self.name: str = backend.hints_by

    async def publish(self, messages: Sequence[str]) -> None:
        """See :class:`Broker`."""
        try:
            await self._backend.hint(messages)
        except InvestigationError as error:
            raise BrokerLost(str(error)) from error

    async def listen(self, heard: Heard, connected: Callable[[], object]) -> None:
        """See :class:`Broker`."""
        try:
            await self._backend.listen(heard, connected)
        except InvestigationError as error:
            raise BrokerLost(str(error)) from error

    async def close(self) -> None:
        """See :class:`Broker`: the store's connections are the store's."""


def broker_of(backend: Backend) -> Broker | None:
    """What a store offers by itself; None where it has to be looked at."""
    if isinstance(backend, HintingBackend) and backend.hints_by:
        return StoreBroker(backend)
    return None
