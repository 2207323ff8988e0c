"""Connections that are cut, shared, exhausted and forked."""

import asyncio
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_backends.sql import postgres_write as write
from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import CommitNotApplied
from investigation_sdk.testing.contract import Case


async def test_connections_that_were_cut_meanwhile_are_made_again(
    backend: PostgresBackend, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case()
    await case.apply(backend)
    await asyncio.gather(*(backend.get("investigation", case.id) for _ in range(5)))
    monkeypatch.setattr("investigation_backends.sql.postgres_pool._RESTED", 0.0)
    kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'investigation_sdk'"
    for _ in range(3):
        assert await raw.fetchval(kill) >= 2
        await case.apply(backend)
        assert await backend.get("investigation", case.id) == case.row


async def test_of_too_few_connections_each_gets_its_turn(postgres_store: str) -> None:
    backend = PostgresBackend(postgres_store, pool_size=1, max_overflow=1, pool_timeout=20)
    await backend.open()
    assert await asyncio.gather(*(backend.holder(f"r{n}") for n in range(40))) == [None] * 40
    await backend.close()


async def test_what_overflowed_is_used_again_and_closed_once_it_is_not(
    postgres_store: str, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("investigation_backends.sql.postgres_pool._SPARE", 60.0)
    backend = PostgresBackend(postgres_store, pool_size=1, max_overflow=3, pool_timeout=30)
    await backend.open()
    pool, made = backend._link._pool, 0
    connect = pool._connect

    async def counted() -> Any:
        nonlocal made
        made += 1
        return await connect()

    pool._connect = counted
    count = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'investigation_sdk' AND datname = current_database()"
    )
    for _ in range(5):
        await asyncio.gather(*(backend.holder(f"r{n}") for n in range(4)))
    assert made == 3, "beside the one that opened the store"
    assert await raw.fetchval(count) == 4
    monkeypatch.setattr("investigation_backends.sql.postgres_pool._SPARE", 0.01)
    assert pool._trimming is not None
    pool._trimming.cancel()
    pool._trim(asyncio.get_running_loop())
    async with asyncio.timeout(60):
        while await raw.fetchval(count) != 1:  # noqa: ASYNC110 - the server's own time
            await asyncio.sleep(0.02)
    assert len(pool._idle) == 1
    await backend.holder("r")
    assert made == 3, "what is kept is used"
    await asyncio.gather(*(backend.holder(f"r{n}") for n in range(4)))
    await backend.close()
    async with asyncio.timeout(60):
        while await raw.fetchval(count):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_pool_that_is_exhausted_says_so(postgres_store: str, raw: Any) -> None:
    backend = PostgresBackend(postgres_store, pool_size=1, max_overflow=1, pool_timeout=0.2)
    await backend.open()
    await raw.execute("BEGIN; LOCK TABLE investigation_leases IN ACCESS EXCLUSIVE MODE")
    waiting = [asyncio.create_task(backend.holder("x")) for _ in range(2)]
    await asyncio.sleep(0.05)
    started = time.monotonic()
    with pytest.raises(BackendUnavailable, match=r"all 2 connections are in use for 0.2 seconds; make pool_size"):
        await backend.holder("x")
    assert time.monotonic() - started < 15
    await raw.execute("ROLLBACK")
    assert await asyncio.gather(*waiting) == [None, None]
    await backend.close()


async def test_a_call_that_is_tried_again_ends_in_its_time(postgres_store: str) -> None:
    backend = PostgresBackend(postgres_store, command_timeout=1.0)
    await backend.open()
    tries = 0

    async def work(_: Any) -> None:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.6)
        raise asyncpg.DeadlockDetectedError("two met")

    with pytest.raises(BackendUnavailable, match=r"another session was in the way|did not answer in time"):
        await backend._link.run(work)
    assert tries <= 2, "each try had all of the time"
    await backend.close()


async def test_a_lock_that_somebody_holds_is_waited_for_once(
    postgres_store: str, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = PostgresBackend(postgres_store, command_timeout=1.0)
    await backend.open()
    begun: list[float] = []

    async def transaction(*arguments: Any) -> Any:
        begun.append(arguments[-1])
        return await write.transaction(*arguments)

    monkeypatch.setattr(
        "investigation_backends.sql.postgres_link.write", SimpleNamespace(**vars(write) | {"transaction": transaction})
    )
    await raw.execute("BEGIN; LOCK TABLE investigations")
    with pytest.raises(CommitNotApplied, match="another session holds a lock for longer than we wait"):
        await backend.commit([Case().commit()])
    assert len(begun) == 1
    await raw.execute("ROLLBACK")
    await Case().apply(backend)
    await backend.close()


async def test_a_call_that_is_broken_off_leaves_no_answer_to_the_next(backend: PostgresBackend, raw: Any) -> None:
    cases = [Case(), Case()]
    for case in cases:
        await case.apply(backend)
    await raw.execute("BEGIN; LOCK TABLE investigations IN ACCESS EXCLUSIVE MODE")
    tasks = [asyncio.create_task(backend.get("investigation", cases[0].id)) for _ in range(5)]
    tasks.append(asyncio.create_task(backend.commit([cases[0].commit()])))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await raw.execute("ROLLBACK")
    for case in cases * 5:
        row: Any = await backend.get("investigation", case.id)
        assert row.id == case.id


@tool
def lookup(name: str) -> str:
    return name.upper()


def test_a_forked_child_has_connections_of_its_own(postgres_store: str) -> None:
    program = textwrap.dedent(
        """
        import os, sys
        from investigation_sdk import InvestigationSDK, tool
        @tool
        def lookup(name): return name.upper()
        sdk = InvestigationSDK(sys.argv[1])
        with sdk.investigation("parent") as parent:
            lookup("a")
            if not (pid := os.fork()):
                with sdk.investigation("child") as child:
                    lookup("b")
                ok = len(sdk.sync.tools(child.id)) == 1 and sdk.sync.verify(child.id).ok
                os._exit(0 if ok else 3)
            lookup("c")
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            lookup("d")
        assert code == 0, code
        assert len(sdk.sync.tools(parent.id)) == 3 and sdk.sync.verify(parent.id).ok
        sdk.sync.close()
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, postgres_store], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_can_be_used_from_one_loop_after_another(postgres_store: str) -> None:
    backend = PostgresBackend(postgres_store)

    async def once() -> None:
        await backend.open()
        await Case().apply(backend)
        await backend.close()

    asyncio.run(once())
    asyncio.run(once())


def test_thousands_of_calls_leave_a_log_that_verifies(postgres_store: str) -> None:
    with InvestigationSDK(postgres_store) as sdk:
        with sdk.investigation("many") as run:
            for n in range(300):
                lookup(f"n{n}")
        report = sdk.sync.verify(run.id)
        assert report.ok
        assert report.checked > 600
        assert len(sdk.sync.tools(run.id, limit=1000)) == 300
