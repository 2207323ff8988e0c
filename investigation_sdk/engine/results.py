"""Results that may be used again for a while: of reading tools, where their decorator says for how long."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

MOST: Final = 1000
"""Results that are kept in a process."""

MOST_CHARACTERS: Final = 16_000_000
"""Of all of them together."""


class Results(Protocol):
    """Where results are kept. It may forget any at any time, and never gives one that is older than it may be."""

    async def find(self, key: str) -> str | None:
        """The JSON text that is kept there, or None; also where it does not answer. On the I/O thread."""
        ...

    def known(self, key: str) -> str | None:
        """What :meth:`find` would give, as far as that is known without waiting. From any thread."""
        ...

    def keep(self, key: str, text: str, seconds: float) -> None:
        """Keep it for so long, without waiting. From any thread."""
        ...


class ResultsHere:
    """Results of this process, in memory: the oldest go first.

    Args:
        clock: Seconds, from anywhere, that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()

    async def find(self, key: str) -> str | None:
        """See :class:`Results`; all is known without waiting."""
        return self.known(key)

    def known(self, key: str) -> str | None:
        """See :class:`Results`."""
        with self._lock:
            text, until = self._kept.get(key, (None, 0.0))
            return text if self._clock() < until else None

    def keep(self, key: str, text: str, seconds: float) -> None:
        """See :class:`Results`."""
        with self._lock:
            self._drop(key)
            self._kept[key] = text, self._clock() + seconds
            self._characters += len(text)
            while len(self._kept) > MOST or self._characters > MOST_CHARACTERS:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        text, _ = self._kept.pop(key, ("", 0.0))
        self._characters -= len(text)
