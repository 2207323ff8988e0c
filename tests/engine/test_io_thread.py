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
    work, submit = Work(), io.submit

    def interrupted(coroutine: Any) -> Any:
        submit(coroutine)
        assert work.begun.wait(PATIENCE)
        raise KeyboardInterrupt

    monkeypatch.setattr(io, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        io.call(work.run())
    assert work.ended.wait(PATIENCE), "nobody waits for it, and it goes on"


def test_what_is_interrupted_before_it_began_does_not_begin(io: IOThread, monkeypatch: pytest.MonkeyPatch) -> None:
    work, submit = Work(), io.submit
    release = threading.Event()

    def interrupted(coroutine: Any) -> Any:
        io.start().call_soon_threadsafe(release.wait, PATIENCE)
        submit(coroutine)
        raise KeyboardInterrupt

    monkeypatch.setattr(io, "submit", interrupted)
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

    submitted, submit = threading.Event(), io.submit

    def watched(whole: Any) -> Any:
        future = submit(whole)
        submitted.set()
        return future

    monkeypatch.setattr(io, "submit", watched)
    thread = threading.Thread(target=call)
    thread.start()
    assert submitted.wait(PATIENCE)
    io.stop(timeout=0)
    release.set()
    thread.join(PATIENCE)
    assert [type(error) for error in told] == [BackendUnavailable]
    assert not work.begun.is_set()
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
