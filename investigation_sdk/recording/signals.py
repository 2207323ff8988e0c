"""SIGTERM while an investigation is open: leave its blocks as Ctrl-C would, so that they reach a recorded state.

The handler is set only in the main thread, only over the default one, and taken away with the last block. Under trio it
does what Ctrl-C does there; where trio does not handle that either, the process ends as it would without a handler.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

from investigation_sdk.engine.hosts import trio_runs_this_thread


def _terminate(number: int, frame: FrameType | None) -> None:
    if not trio_runs_this_thread():
        raise SystemExit(128 + number)
    # In the middle of trio's own loop no exception may go off; trio's handler of Ctrl-C knows where it is.
    interrupt = signal.getsignal(signal.SIGINT)
    if callable(interrupt) and interrupt.__module__.partition(".")[0] == "trio":
        interrupt(signal.SIGINT, frame)
    else:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


class _Handler:
    """Counts the blocks that are open, and whether the handler in place is ours."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._ours = False

    def forked(self) -> None:
        """In a forked child no block is open."""
        if self._ours and signal.getsignal(signal.SIGTERM) is _terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._reset()

    def entered(self) -> None:
        """One more block is open."""
        with self._lock:
            self._open += 1
            if not self._ours and _in_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, _terminate)
                self._ours = True

    def left(self) -> None:
        """One block fewer is open."""
        with self._lock:
            self._open -= 1
            if self._ours and self._open <= 0 and _in_main_thread():
                if signal.getsignal(signal.SIGTERM) is _terminate:
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                self._ours = False


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


_handler = _Handler()
os.register_at_fork(after_in_child=_handler.forked)
entered: Final[Callable[[], None]] = _handler.entered
left: Final[Callable[[], None]] = _handler.left
