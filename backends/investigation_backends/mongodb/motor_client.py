"""Motor's client on threads of ours.

Motor runs pymongo on a ThreadPoolExecutor. Python shuts those before a process flushes what it has recorded; ours
serve to the end. Nothing of motor is changed for others: its classes are made once more, with another way to a thread.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import types
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Final

from motor import core
from motor.frameworks import asyncio as motor_asyncio
from motor.metaprogramming import create_class_with_framework

_MOST: Final = 64
_IDLE: Final = 30.0

_Job = tuple[Future[Any], Callable[[], Any]]


class Threads:
    """Daemon threads, started when they are needed, ended when they have had nothing to do for a while."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Run it there."""
        future: Future[Any] = Future()
        with self._lock:
            self._idle -= 1
            start = self._idle < 0 and self._threads < _MOST
            self._threads += start
            self._idle += start
        self._jobs.put((future, function))
        if start:
            try:
                threading.Thread(target=self._run, name="investigation-motor", daemon=True).start()
            except RuntimeError:  # at the end of the process: those that are there go on
                with self._lock:
                    self._threads -= 1
                    self._idle -= 1
                    if not self._threads:
                        raise
        return future

    def _run(self) -> None:
        while True:
            try:
                future, function = self._jobs.get(timeout=_IDLE)
            except Empty:
                with self._lock:
                    if self._idle > 0:  # else something is being handed over
                        self._threads -= 1
                        self._idle -= 1
                        return
                continue
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)
            del future, function
            with self._lock:
                self._idle += 1


_threads = Threads()


def _after_fork() -> None:
    global _threads  # noqa: PLW0603 - the parent's are not here
    _threads = Threads()


os.register_at_fork(after_in_child=_after_fork)


def _run_on_executor(loop: asyncio.AbstractEventLoop, function: Any, *args: Any, **options: Any) -> asyncio.Future[Any]:
    return asyncio.wrap_future(_threads.submit(functools.partial(function, *args, **options)), loop=loop)


_framework = types.ModuleType("investigation_motor")
vars(_framework).update({name: value for name, value in vars(motor_asyncio).items() if not name.startswith("__")})
vars(_framework)["run_on_executor"] = _run_on_executor

MotorClient: Callable[..., Any] = create_class_with_framework(core.AgnosticClient, _framework, __name__)
"""As ``motor.motor_asyncio.AsyncIOMotorClient``."""
