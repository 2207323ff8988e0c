"""The ways to a PostgreSQL server: what is tried again, and what errors become."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn, TypeVar

from investigation_sdk.errors import BackendUnavailable, ConfigurationError, InvestigationError
from investigation_sdk.ids import time_of
from investigation_sdk.storage.backend import CommitNotApplied, StoreFailure
from investigation_sdk.storage.commit import Commit, CommitResult

from . import postgres_write as write
from .postgres_driver import DRIVER_ERRORS, Connection, Target
from .postgres_errors import (
    Fault,
    Means,
    batch_failed,
    connect_fault,
    explain,
    fault,
    lacks_partition,
    sqlstate,
    unavailable,
)
from .postgres_names import Names
from .postgres_partitions import DAY_MS, NoPartition, look_ahead
from .postgres_pool import CannotConnect, Pool, PoolExhausted
from .postgres_statements import Statements

T = TypeVar("T")

_PAUSES: Final = (0.004, 0.008, 0.016, 0.032, 0.064)
"""Seconds between two tries, about."""

AT_ONCE: Final = 2
"""So many batches are committed at the same time: the server works on one while the next is made. More are smaller."""


class Link:
    """Connections of two kinds: those that commit, and a pool for everything else."""

    def __init__(self, target: Target, names: Names, *, pool_size: int, max_overflow: int, pool_timeout: float) -> None:
        self.target = target
        self.names = names
        self.statements: Statements = Statements(names)
        self.wanted: bool = False
        self._pool = Pool(target.connect, pool_size, max_overflow, pool_timeout, target.connect_timeout)
        # one plan for all: these statements are long, and to plan them costs more than to run them
        self._writing = Pool(
            lambda: target.connect(plan_cache_mode="force_generic_plan", enable_seqscan="off"),
            AT_ONCE,
            0,
            target.command_timeout,
            target.connect_timeout,
        )
        self._looked = 0

    async def close(self) -> None:
        """Close all connections."""
        self.wanted = False
        await self._writing.close()
        await self._pool.close()

    def _check_usable(self) -> None:
        if not self.wanted:
            raise BackendUnavailable(f"{self.target.place} is not open; call open() first")

    def deadline(self) -> float:
        """The loop's time at which a call that begins now has ended, whatever it waits for and how often it is tried:
        the one limit that is passed down."""
        return asyncio.get_running_loop().time() + self.target.command_timeout

    # ------------------------------------------------------------------ everything but commits

    async def run(
        self,
        work: Callable[[Connection], Awaitable[T]],
        until: float | None = None,
        *,
        settle: Callable[[Connection, T, float], Awaitable[T | None]] | None = None,
    ) -> T:
        """Run something that may be done twice: again after what passes by itself, and once after a lost connection.

        Args:
            work: What to do.
            until: The end of a call that does several such things; None: this is all of it.
            settle: Of something that answers otherwise when it is done again: called with the second answer after the
                first was lost, and the loop's time of the beginning; the right answer, or None where nobody can tell.

        Raises:
            BackendUnavailable: the server does not do it, or nobody can tell whether it did; as the message says.
            ValueError: a value is of no use to it.
        """
        self._check_usable()
        lost = False
        begun = asyncio.get_running_loop().time()
        until = self.deadline() if until is None else until
        for pause in (*_PAUSES, None):
            try:
                async with self._pool.connection(until) as connection, asyncio.timeout_at(until):
                    answer = await work(connection)
                    if not lost or settle is None:
                        return answer
                    settled = await settle(connection, answer, begun)
                    if settled is not None:
                        return settled
                    raise BackendUnavailable(
                        f"{self.target.place}: the connection was cut, and the answer with it; what was asked for is "
                        "so now, but nobody can tell whether this call made it so"
                    )
            except InvestigationError:
                raise
            except PoolExhausted as error:
                raise BackendUnavailable(
                    f"{self.target.place}: {error}; make pool_size or max_overflow larger"
                ) from None
            except CannotConnect as error:
                raise unavailable(connect_fault(error.why), error.why, self.target.place) from error.why
            except DRIVER_ERRORS as error:
                found = fault(error)
                if found.means is Means.DATA:
                    raise ValueError(explain(found, error, self.target.place)) from error
                cut = found.means is Means.UNKNOWN and not isinstance(error, TimeoutError) and not lost
                again = pause is not None and (cut or _passes(error)) and await _rest(pause, until)
                if not again:
                    raise unavailable(found, error, self.target.place) from error
                lost = lost or cut
        raise AssertionError

    # ------------------------------------------------------------------ commits

    async def commit(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        """Apply a batch. See :meth:`investigation_sdk.storage.backend.Backend.commit`."""
        try:
            self._check_usable()
            until = self.deadline()
            for pause in _PAUSES:
                try:
                    return await self._commit_once(commits, until)
                except _Passing:
                    if not await _rest(pause, until):
                        raise
            return await self._commit_once(commits, until)
        except _Passing as passing:
            raise CommitNotApplied(str(passing)) from passing.__cause__
        except (BackendUnavailable, ConfigurationError) as error:
            raise StoreFailure(str(error)) from error

    async def _commit_once(self, commits: Sequence[Commit], until: float) -> Sequence[CommitResult]:
        place = self.target.place
        try:
            async with self._writing.connection(until) as connection:
                await self._look_ahead_for(connection, commits, until)
                if write.is_plain(commits):
                    try:
                        async with asyncio.timeout_at(until):
                            return await write.append(connection, self.statements, commits)
                    except DRIVER_ERRORS as error:
                        if fault(error).means is not Means.DATA or lacks_partition(error):
                            raise
                return await write.transaction(connection, self.statements, commits, until)
        except PoolExhausted as error:
            raise CommitNotApplied(f"{place}: {error}") from None
        except NoPartition as error:
            raise StoreFailure(f"{place}: {error}") from error
        except CannotConnect as error:
            raise batch_failed(connect_fault(error.why), error.why, place) from error.why
        except write.NotCommitted as error:
            if isinstance(error.why, write.TryAgain):
                raise _Passing(f"{place}: {error.why}") from error.why
            self._raise(error.why, committed=False)
        except DRIVER_ERRORS as error:
            self._raise(error, committed=True)

    def _raise(self, error: Exception, *, committed: bool) -> NoReturn:
        """The error of a batch; `committed` where it may be applied although the answer is lost."""
        found = fault(error)
        cut = found.means is Means.UNKNOWN and not isinstance(error, TimeoutError)
        if lacks_partition(error):
            self._looked = 0
            found = Fault(Means.AGAIN, "the log had no partition for it")
        elif found.means is Means.DATA:
            found = Fault(Means.FATAL, found.says)
        elif found.means is Means.UNKNOWN and not committed:
            found = Fault(Means.AGAIN, found.says)
        if found.means is Means.AGAIN and (cut or _passes(error) or lacks_partition(error)):
            raise _Passing(explain(found, error, self.target.place)) from error
        raise batch_failed(found, error, self.target.place) from error

    async def look_ahead(self, until: float | None = None) -> None:
        """See that the log has its partitions, by the loop's time `until`.

        Raises:
            BackendUnavailable: it has not, and they cannot be made.
        """
        try:
            self._looked = await self.run(lambda c: look_ahead(c, self.names), until)
        except NoPartition as error:
            raise BackendUnavailable(f"{self.target.place}: {error}") from error

    async def _look_ahead_for(self, connection: Connection, commits: Sequence[Commit], until: float) -> None:
        """Once a day, before an investigation is created."""
        for commit in commits:
            if not commit.expected_version and self._is_far(commit.investigation_id):
                try:
                    async with asyncio.timeout_at(until):
                        self._looked = await look_ahead(connection, self.names)
                except DRIVER_ERRORS as error:
                    raise write.NotCommitted(error) from error
                return

    def _is_far(self, id: str) -> bool:
        try:
            return abs(time_of(id) - self._looked) > DAY_MS
        except ValueError:
            return False  # no id: refused in a moment


class _Passing(Exception):
    """A batch was not applied by what is over soon."""


def _passes(error: BaseException) -> bool:
    """Whether trying again at once may help: two transactions met, or the connection was closed before."""
    state = sqlstate(error)
    return state[:2] == "40" if state else fault(error).means is Means.AGAIN


async def _rest(pause: float, until: float) -> bool:
    """Wait a moment; whether there is time for another try then."""
    # jitter: or two that met once meet again and again
    pause *= random.uniform(0.5, 1.5)  # noqa: S311
    loop = asyncio.get_running_loop()
    if loop.time() + pause >= until:
        return False
    await asyncio.sleep(pause)
    return True
