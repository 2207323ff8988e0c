"""A run on a thread of its own, that can be broken off by what is raised in the thread that waits for it.

An engine's time limit is an exception that a signal raises in the main thread, anywhere. Raised in a loop, or in the
middle of what is recorded, it would leave behind what nobody can go on with. So the main thread only waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final

from investigation_sdk.work.attempt import Attempt
from investigation_sdk.work.dispatch import Executed

_log = logging.getLogger("investigation_sdk.work")

GRACE_SECONDS: Final = 3.0
"""How long a run that is broken off has to come to a boundary; then a coroutine is cancelled, and has it once more."""

Begun = Callable[[Attempt], None]
"""To be called on the run's loop before it begins."""


class Apart:
    """One such run.

    Args:
        run: Makes the coroutine; it is to say when its attempt begins.
    """

    def __init__(self, run: Callable[[Begun], Coroutine[Any, Any, Executed]]) -> None:
        self._run = run
        self._done: Future[Executed] = Future()
        self._attempt: Attempt | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broken_off = False

    def wait(self) -> Executed:
        """Run it, and wait for its end. Where something is raised in here meanwhile, the run is stopped first: it is
        recorded as interrupted, and whoever takes it up goes on from there."""
        work = contextvars.copy_context().run
        threading.Thread(target=work, args=(self._work,), name="investigation-execute", daemon=True).start()
        try:
            return self._done.result()
        except BaseException:
            if not self._done.done():
                self._break_off()
            raise

    def _work(self) -> None:
        try:
            self._done.set_result(asyncio.run(self._run(self._begun)))
        except BaseException as error:
            self._done.set_exception(error)

    def _begun(self, attempt: Attempt) -> None:
        self._loop, self._attempt = asyncio.get_running_loop(), attempt
        if self._broken_off:
            attempt.stop()

    def _break_off(self) -> None:
        self._broken_off = True
        for how in (Attempt.stop, Attempt.cancel):
            if self._loop is not None and self._attempt is not None:
                with contextlib.suppress(RuntimeError):  # it has ended
                    self._loop.call_soon_threadsafe(how, self._attempt)
            try:
                self._done.exception(GRACE_SECONDS)
            except TimeoutError:
                continue
            return
        if self._attempt is not None:
            _log.error(
                "Investigation %s: the handler of %r was to be stopped and runs on, on a thread, which cannot "
                "be stopped; it keeps its lease until it comes to a boundary, or this process ends.",
                self._attempt.id,
                self._attempt.investigator.investigation_type,
                extra={"investigation_id": self._attempt.id},
            )
