"""The ways to a PostgreSQL server: what is tried again, and what errors become."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn, TypeVar

from investigation_sdk.errors import BackendUnavailable, InvestigationError
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

_TRIES: Final = 6
_FIRST_PAUSE: Final = 0.004


class Link:
    """Connections of two kinds: one that commits, and a pool for everything else."""

    def __init__(self, target: Target, names: Names, *, pool_size: int, max_overflow: int, pool_timeout: float) -> None:
        self.target = target
        self.names = names
        self.statements: Statements = Statements(names)
        self.wanted: bool = False
        self._pool = Pool(target.connect, pool_size, max_overflow, pool_timeout)
        # one plan for all: these statements are long, and to plan them costs more than to run them
        self._writing = Pool(
            lambda: target.connect(plan_cache_mode="force_generic_plan", enable_seqscan="off"),
            1,
            0,
            target.command_timeout,
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

    # ------------------------------------------------------------------ everything but commits

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run something that may be done twice: again after what passes by itself, and once after a lost connection.

        Raises:
            BackendUnavailable: the server does not do it; as the message says.
            ValueError: a value is of no use to it.
        """
        self._check_usable()
        pause, lost = _FIRST_PAUSE, False
        for last in (*[False] * (_TRIES - 1), True):
            try:
                async with self._pool.connection() as connection:
                    return await work(connection)
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
                if last or not (cut or _passes(error)):
                    raise unavailable(found, error, self.target.place) from error
                lost = lost or cut
            await _rest(pause)
            pause *= 2
        raise AssertionError

    # ------------------------------------------------------------------ commits

    async def commit(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        """Apply a batch. See :meth:`investigation_sdk.storage.backend.Backend.commit`."""
        try:
            self._check_usable()
            pause = _FIRST_PAUSE
            for _ in range(_TRIES - 1):
                try:
                    return await self._commit_once(commits)
                except _Passing:
                    await _rest(pause)
                    pause *= 2
            return await self._commit_once(commits)
        except _Passing as passing:
            raise CommitNotApplied(str(passing)) from passing.__cause__
        except BackendUnavailable as error:
            raise StoreFailure(str(error)) from error

    async def _commit_once(self, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        place = self.target.place
        try:
            async with self._writing.connection() as connection:
                await self._look_ahead_for(connection, commits)
                if write.is_plain(commits):
                    try:
                        return await write.append(connection, self.statements, commits)
                    except DRIVER_ERRORS as error:
                        if fault(error).means is not Means.DATA or lacks_partition(error):
                            raise
                return await write.transaction(connection, self.statements, commits)
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
        if lacks_partition(error):
            self._looked = 0
            found = Fault(Means.AGAIN, "the log had no partition for it")
        elif found.means is Means.DATA:
            found = Fault(Means.FATAL, found.says)
        elif found.means is Means.UNKNOWN and not committed:
            found = Fault(Means.AGAIN, found.says)
        if found.means is Means.AGAIN and (_passes(error) or not committed or lacks_partition(error)):
            raise _Passing(explain(found, error, self.target.place)) from error
        raise batch_failed(found, error, self.target.place) from error

    async def look_ahead(self) -> None:
        """See that the log has its partitions.

        Raises:
            BackendUnavailable: it has not, and they cannot be made.
        """
        try:
            self._looked = await self.run(lambda c: look_ahead(c, self.names))
        except NoPartition as error:
            raise BackendUnavailable(f"{self.target.place}: {error}") from error

    async def _look_ahead_for(self, connection: Connection, commits: Sequence[Commit]) -> None:
        """Once a day, before an investigation is created."""
        for commit in commits:
            if not commit.expected_version and self._is_far(commit.investigation_id):
                try:
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


async def _rest(pause: float) -> None:
    # jitter: or two that met once meet again and again
    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
