"""A server that speaks MongoDB's protocol, from the wheel `secantusdb`; only ever run as a process of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from .process import Server, ServerMissing, installed


class MongoServer(Server):
    """A SecantusDB server. It takes ``configureFailPoint``, so that tests can have it fail.

    Attributes:
        options: More options of the command line, such as ``--standalone``; read at each start.
    """

    name: ClassVar[str] = "mongo"
    end: ClassVar[signal.Signals] = signal.SIGKILL  # it may deadlock on SIGTERM, and its data are thrown away

    def __init__(self, *options: str) -> None:
        super().__init__()
        self.options: list[str] = list(options)
        if installed("secantus") is None:
            raise ServerMissing(
                "no MongoDB is installed; run: pip install 'investigation-sdk[test]' (Python 3.13 at most), or set "
                "INVESTIGATION_TEST_MONGO_URL to a server of yours"
            )

    @property
    def url(self) -> str:
        """That of the server."""
        return self.url_of("")

    def url_of(self, database: str) -> str:
        """That of any database; it is made when it is first written to."""
        return f"mongodb://127.0.0.1:{self.port}/{database}?replicaSet=secantus"

    def command(self) -> Sequence[str | Path]:
        """The server."""
        options = ["--port", str(self.port), "--storage-path", str(self.folder / "db"), "--log-level", "ERROR"]
        return [sys.executable, "-m", "secantus", *options, "--enable-test-commands", *self.options]
