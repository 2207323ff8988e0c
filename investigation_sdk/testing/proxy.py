r"""A TCP proxy that misbehaves as told: between an SDK and its database, for tests of what happens then.

::

    with FaultProxy("127.0.0.1", server.port) as proxy:
        sdk = InvestigationSDK(f"postgresql://postgres@127.0.0.1:{proxy.port}/cases")
        proxy.cut_when(b"COMMIT\0", forward=True)  # the server gets it, and its answer is lost

It knows nothing of what passes but bytes, so a connection with TLS hides patterns from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

_PIECE: Final = 65536
_OVERLAP: Final = 256
"""A pattern may come in two pieces; it is at most so long."""
_TO_BE_DONE: Final = 0.1
"""Seconds that the server gets for what it was sent last before the cut."""


class FaultProxy:
    """Listens on a port of 127.0.0.1 and forwards to a server, on a thread and a loop of its own.

    Its methods may be called from any thread; each returns when it is done.

    Args:
        host: Of the server.
        port: Of the server.

    Attributes:
        port: Where it listens.
        connections: How many were made through it.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port: int = 0
        self.connections: int = 0
        self._server = (host, port)
        self._latency = 0.0
        self._refusing = False
        self._pattern: bytes | None = None
        self._forward = False
        self._cut = threading.Event()
        self._open: set[asyncio.WriteTransport] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._through: asyncio.Event | None = None
        self._listener: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    # ------------------------------------------------------------------ what goes wrong

    def delay(self, seconds: float) -> None:
        """From now on, each piece that the client sends waits so long."""
        self._latency = seconds

    def black_hole(self) -> None:
        """From now on, connections are taken and stay, and nothing passes, either way, until :meth:`restore`."""
        self._call(self._set_through(open_=False))

    def refuse(self) -> None:
        """From now on, new connections are closed at once. Those that are there stay."""
        self._refusing = True

    def cut_all(self) -> None:
        """Cut all connections that are there."""
        self._call(self._cut_all())

    def cut_when(self, pattern: bytes, *, forward: bool) -> None:
        """Cut all connections when the client sends this, once: after it was forwarded, so that the server gets it and
        the answer is lost, or before. At most 256 bytes."""
        if not 0 < len(pattern) <= _OVERLAP:
            raise ValueError(f"a pattern has 1 to {_OVERLAP} bytes, not {len(pattern)}")
        self._forward, self._pattern = forward, pattern
        self._cut.clear()

    def was_cut(self, timeout: float = 0.0) -> bool:
        """Whether :meth:`cut_when` has happened; waits up to `timeout` seconds for it."""
        return self._cut.wait(timeout)

    def restore(self) -> None:
        """Everything passes again, as if nothing had been."""
        self._latency, self._refusing, self._pattern = 0.0, False, None
        self._call(self._set_through(open_=True))

    # ------------------------------------------------------------------ on the loop

    async def _start(self) -> None:
        self._through = asyncio.Event()
        self._through.set()
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._listener is not None
        self._listener.close()
        await self._cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _set_through(self, *, open_: bool) -> None:
        assert self._through is not None
        if open_:
            self._through.set()
        else:
            self._through.clear()

    async def _cut_all(self) -> None:
        for transport in list(self._open):
            transport.abort()
        self._open.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            from_server, to_server = await asyncio.open_connection(*self._server)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer.transport, to_server.transport}
        answers = asyncio.Event()
        answers.set()
        for task in (
            asyncio.create_task(self._to_server(reader, to_server, answers)),
            asyncio.create_task(self._to_client(from_server, writer, answers)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _to_server(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: asyncio.Event
    ) -> None:
        assert self._through is not None
        seen = b""
        with contextlib.suppress(OSError):
            while piece := await reader.read(_PIECE):
                if self._latency:
                    await asyncio.sleep(self._latency)
                await self._through.wait()
                seen = seen[-_OVERLAP:] + piece
                if self._pattern is not None and self._pattern in seen:
                    self._pattern = None
                    if self._forward:
                        answers.clear()
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(_TO_BE_DONE)
                    await self._cut_all()
                    self._cut.set()
                    return
                writer.write(piece)
                await writer.drain()
        self._end(writer)

    async def _to_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: asyncio.Event
    ) -> None:
        assert self._through is not None
        with contextlib.suppress(OSError):
            while piece := await reader.read(_PIECE):
                await self._through.wait()
                await answers.wait()
                writer.write(piece)
                await writer.drain()
        self._end(writer)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer.transport)
        writer.close()
