"""Coroutines on the I/O thread for callers whose wait is broken off."""

import asyncio
import inspect
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from investigation_sdk.engine.io_thread import IOThread
from investigation_sdk.errors import BackendUnavailable

PATIENCE = 60


@pytest.fixture
def io() -> Iterator[IOThread]:
    thread = IOThread()
    yield thread
    thread.stop()


class Work:
    """Runs until it is cancelled."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()

    async def run(self) -> None:
        self.begun.set()
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            self.ended.set()


def test_what_is_interrupted_just_when_it_was_submitted_is_cancelled(
    io: IOThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main thread gives way to the I/O thread in there, so that is where Ctrl-C finds it now and then."""
    work, hand_over = Work(), io._hand_over

    def interrupted(run: Any) -> None:
        hand_over(run)
        assert work.begun.wait(PATIENCE)
        raise KeyboardInterrupt

    monkeypatch.setattr(io, "_hand_over", interrupted)
    with pytest.raises(KeyboardInterrupt):
        io.call(work.run())
    assert work.ended.wait(PATIENCE), "nobody waits for it, and it goes on"


def test_what_is_interrupted_before_it_began_does_not_begin(io: IOThread, monkeypatch: pytest.MonkeyPatch) -> None:
    work, hand_over = Work(), io._hand_over
    release = threading.Event()

    def interrupted(run: Any) -> None:
        io.start().call_soon_threadsafe(release.wait, PATIENCE)
        hand_over(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(io, "_hand_over", interrupted)
    with pytest.raises(KeyboardInterrupt):
        io.call(work.run())
    release.set()
    monkeypatch.undo()
    io.call(asyncio.sleep(0))
    assert not work.begun.is_set()


def test_what_had_not_begun_when_the_thread_ended_is_closed(io: IOThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or Python would say, somewhere, that it was never awaited."""
    work, release = Work(), threading.Event()
    coroutine = work.run()
    io.start().call_soon_threadsafe(release.wait, PATIENCE)
    told: list[BaseException] = []

    def call() -> None:
        try:
            io.call(coroutine)
        except BaseException as error:
            told.append(error)

    submitted, hand_over = threading.Event(), io._hand_over

    def watched(run: Any) -> None:
        hand_over(run)
        submitted.set()

    monkeypatch.setattr(io, "_hand_over", watched)
    thread = threading.Thread(target=call)
    thread.start()
    assert submitted.wait(PATIENCE)
    io.stop(timeout=0)
    release.set()
    thread.join(PATIENCE)
    assert [type(error) for error in told] == [BackendUnavailable]
    assert not work.begun.is_set()
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_what_it_raises_is_raised_where_it_is_waited_for(io: IOThread, error: BaseException) -> None:
    """And nowhere else: the thread goes on."""

    async def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        io.call(fail())
    assert caught.value is error
    assert io.call(asyncio.sleep(0, 7)) == 7


async def test_a_task_that_is_cancelled_cancels_what_it_waits_for(io: IOThread) -> None:
    work = Work()
    task = asyncio.create_task(io.acall(work.run()))
    assert await asyncio.to_thread(work.begun.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    assert await asyncio.to_thread(work.ended.wait, PATIENCE)


def test_all_that_wait_are_told_when_the_thread_ends(io: IOThread) -> None:
    works = [Work() for _ in range(3)]
    told: list[type[BaseException]] = []

    def call(work: Work) -> None:
        try:
            io.call(work.run())
        except BaseException as error:
            told.append(type(error))

    threads = [threading.Thread(target=call, args=(work,)) for work in works]
    for thread, work in zip(threads, works, strict=True):
        thread.start()
        assert work.begun.wait(PATIENCE)
    io.stop()
    for thread in threads:
        thread.join(PATIENCE)
    assert told == [BackendUnavailable] * 3
