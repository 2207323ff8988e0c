"""How the tests get at a backend."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import CommitResult, CommitStatus

from .building import Case


@dataclass(frozen=True)
class StoreUnderTest:
    """One empty store.

    Attributes:
        handle: Makes another backend object, not opened, on the data of this store.
        url: What opens it in another process, by :func:`investigation_sdk.storage.registry.create_backend`; None
            where no other process can.
    """

    handle: Callable[[], Backend]
    url: str | None = None


@dataclass
class OpenStore:
    """A store with two open handles; whatever else was opened is closed with it."""

    under_test: StoreUnderTest
    a: Backend
    b: Backend
    _others: list[Backend] = field(default_factory=list[Backend])

    @property
    def url(self) -> str | None:
        """See :attr:`StoreUnderTest.url`."""
        return self.under_test.url

    async def another(self) -> Backend:
        """One more open handle."""
        backend = self.under_test.handle()
        self._others.append(backend)
        await backend.open()
        return backend

    async def reopen(self) -> Backend:
        """Close everything, so that only what is durable is left; answer a new handle."""
        await self.close()
        self.a = await self.another()
        return self.a

    async def close(self) -> None:
        """Close all handles."""
        for backend in (self.a, self.b, *self._others):
            await backend.close()

    async def version(self, case: Case) -> int:
        """The stored version; checks that the log is as long."""
        row = await self.a.get("investigation", case.id)
        events = await self.a.read_events(case.id)
        if row is None:
            assert not events, f"{len(events)} events without an investigation"
            return 0
        assert isinstance(row, InvestigationRow)
        assert [event.sequence for event in events] == list(range(1, row.version + 1)), "row and log differ"
        assert events[-1].hash == row.head, "head is not the hash of the last event"
        return row.version


@contextlib.asynccontextmanager
async def opened(under_test: StoreUnderTest) -> AsyncGenerator[OpenStore]:
    """Open two handles, and close all in the end."""
    store = OpenStore(under_test, under_test.handle(), under_test.handle())
    try:
        await store.a.open()
        await store.b.open()
        yield store
    finally:
        await store.close()


class ContractBase:
    """What the parts of the contract share."""

    def new_store(self, folder: Path) -> StoreUnderTest:
        """A new, empty store; `folder` is empty and may be used for its files."""
        raise NotImplementedError(f"{type(self).__name__} must say how to make a store: define new_store()")


async def refused(call: Awaitable[object], what: str, kind: type[ValueError] = ValueError) -> None:
    """Await a call that must raise an error of this kind."""
    try:
        await call
    except kind:
        return
    except Exception as other:
        raise AssertionError(f"{what} was not refused with {kind.__name__}, but with {other!r}") from other
    raise AssertionError(f"{what} was not refused with {kind.__name__}")


def statuses(results: Sequence[CommitResult]) -> list[CommitStatus]:
    """The statuses of a batch's results."""
    return [result.status for result in results]
