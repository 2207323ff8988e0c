"""SIGTERM while an investigation is open: leave its blocks as Ctrl-C would, so that they reach a recorded state.

The handler is set only in the main thread, only over the default one, and taken away with the last block.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import NoReturn

_lock = threading.Lock()
_open = 0
_ours = False


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def entered() -> None:
    """One more block is open."""
    global _open, _ours
    with _lock:
        _open += 1
        if (
            not _ours
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        ):
            signal.signal(signal.SIGTERM, _terminate)
            _ours = True


def left() -> None:
    """One block fewer is open."""
    global _open, _ours
    with _lock:
        _open -= 1
        if _ours and _open <= 0 and threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGTERM) is _terminate:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _ours = False
