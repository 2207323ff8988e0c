"""One server process: started in a folder of its own, ended with its parent."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final, Self

_CHILD: Final = Path(__file__).with_name("_child.py")
_PREFIX: Final = "investigation-test-"
_LOCK: Final = "lock"
_TRIES: Final = 3


class ServerMissing(RuntimeError):
    """The binaries of a server are not installed here; the message says how to get them."""


class Server(ABC):
    """A server on a free port of 127.0.0.1, with data in a temporary folder.

    Usable in ``with``. A subclass says what to run.

    Attributes:
        folder: Its folder; made by :meth:`start`, removed by :meth:`stop`.
        port: The port; the same again after :meth:`kill` and :meth:`start`.
    """

    name: ClassVar[str]
    death: ClassVar[signal.Signals] = signal.SIGKILL
    """What it gets when its parent dies, and from :meth:`kill`."""
    end: ClassVar[signal.Signals] = signal.SIGTERM
    """What it gets to end in an orderly way."""

    def __init__(self) -> None:
        self.folder: Path = Path()
        self.port: int = 0
        self.patience: float = 60.0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    @abstractmethod
    def url(self) -> str:
        """What to connect to."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """What to run."""

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Make what it needs in its new folder."""

    def user(self) -> tuple[int, int]:
        """User and group to run as; zeros for those of this process."""
        return 0, 0

    @property
    def pid(self) -> int | None:
        """The running process, None where there is none."""
        return None if self._process is None else self._process.pid

    def log(self) -> str:
        """The end of what it wrote."""
        try:
            return (self.folder / "log").read_text(errors="replace")[-3000:]
        except OSError:
            return ""

    # ------------------------------------------------------------------ start and end

    def start(self) -> None:
        """Start it, and wait until it answers; after :meth:`kill` on the same data and port.

        Raises:
            ServerMissing: it is not installed.
            RuntimeError: it does not start, or this is not the main thread: the kernel would end it with the thread.
        """
        if self._process is not None:
            return
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("servers are started on the main thread: they end with the thread that started them")
        if self.port:
            self._launch()
            return
        _sweep()
        for left in reversed(range(_TRIES)):
            self.port = free_port()
            self._make_folder()
            try:
                self.prepare()
                self._launch()
                return
            except BaseException as error:
                log = self.log()
                self.stop()
                if "ddress already in use" in log and left:
                    continue
                if log and isinstance(error, RuntimeError | OSError):
                    error.add_note(f"{self.name} said: {log}")
                raise

    def stop(self) -> None:
        """End it, and remove its folder; idempotent."""
        try:
            self._signal(self.end)
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
                shutil.rmtree(self.folder, ignore_errors=True)
            self.port = 0

    def kill(self) -> None:
        """End it as a crash does: what was not durable is gone. :meth:`start` starts it again."""
        self._signal(self.death)

    def _signal(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _make_folder(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{self.name}-"))
        # held by this process and by the server: who can take it finds a folder that nobody uses any more
        self._lock = os.open(self.folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        uid, gid = self.user()
        if uid:
            os.chown(self.folder, uid, gid)

    def run(self, *command: str | Path) -> None:
        """Run a helper of the server as its user, to its end.

        Raises:
            RuntimeError: it failed; with what it said.
        """
        with (self.folder / "log").open("ab") as log:
            process = self._popen(command, log.fileno())
            if process.wait():
                raise RuntimeError(f"{Path(command[0]).name} failed with {process.returncode}")

    def _launch(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = process = self._popen(self.command(), log.fileno())
        deadline = time.monotonic() + self.patience
        while not self.answers():
            if process.poll() is not None:
                self._process = None
                raise RuntimeError(f"{self.name} ended with {process.returncode} when it was started")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not answer on port {self.port} after {self.patience:g} seconds")
            time.sleep(0.01)

    def _popen(self, command: Sequence[str | Path], log: int) -> subprocess.Popen[bytes]:
        ids = (str(number) for number in (os.getpid(), *self.user(), self.death.value))
        assert self._lock is not None
        return subprocess.Popen(
            [sys.executable, "-I", "-S", _CHILD, *ids, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder), "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,  # Ctrl-C is for the tests, which then end it
            pass_fds=[self._lock],
        )

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


def nobody_if_root() -> tuple[int, int]:
    """For servers that refuse to run as root: user and group `nobody` there; zeros where this is a normal user."""
    if os.geteuid():
        return 0, 0
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def installed(package: str) -> Path | None:
    """The folder of a package, found without importing it."""
    spec = importlib.util.find_spec(package)
    places = [] if spec is None else spec.submodule_search_locations or []
    return next((Path(place) for place in places), None)


def _sweep() -> None:
    """Remove the folders that killed runs left behind."""
    for folder in _abandoned():
        shutil.rmtree(folder, ignore_errors=True)


def _abandoned() -> Iterator[Path]:
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError), lock.open("r+b") as file:  # locked, or another user's
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield lock.parent
