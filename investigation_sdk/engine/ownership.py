"""Ownership: who drives an investigation, and whether that owner is still alive.

An owner is ``machine/boot/pid namespace/pid/process start/nonce``. It is *provably dead* only where that can be
seen from here: on this machine, from before its last boot, or in this pid namespace with no such process.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import NamedTuple

from investigation_sdk.ids import uuid7

_living: set[str] = set()
"""Nonces of the claims that this process holds."""


class Owner(NamedTuple):
    """One claim by one process."""

    machine: str
    boot: str
    pid_namespace: str
    pid: int
    started: str
    nonce: str

    def __str__(self) -> str:
        return "/".join(str(part) for part in self)


def new_owner() -> str:
    """An owner for one claim by this process, alive until :func:`retire`."""
    nonce = uuid7()
    _living.add(nonce)
    pid = os.getpid()
    return str(Owner(machine(), _boot(), _pid_namespace(), pid, _started_here(pid), nonce))


def retire(owner: str) -> None:
    """From now on, that claim of this process counts as dead."""
    _living.discard(owner.rpartition("/")[2])


def forget_all() -> None:
    """In a forked child: none of the parent's claims is this process's."""
    _living.clear()


def provably_dead(owner: str) -> bool:
    """Whether the process behind a claim certainly runs no more."""
    try:
        host, boot, namespace, pid, started, nonce = owner.split("/")
        number = int(pid)
    except ValueError:
        return False
    if not boot or host != machine():
        return False
    if boot != _boot():  # without a machine-id, the name alone may be that of another host
        return bool(host.partition(".")[2])
    if not namespace or namespace != _pid_namespace() or not started:
        return False
    if number == os.getpid() and started == _started(number):
        return nonce not in _living
    return _started(number) != started


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


@cache
def machine() -> str:
    """What all owners on this machine begin with."""
    name = socket.gethostname().replace("/", "_").replace(".", "-") or "unknown"
    return f"{name}.{_read('/etc/machine-id')[:12]}"


@cache
def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id")


@cache
def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return ""


@cache
def _started_here(pid: int) -> str:
    """Start time of this process, whose id a forked child does not share; empty if nobody says."""
    return _started(pid) or ""


def _started(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot; None if it does not run (a zombie does not).

    Field 22 of ``/proc/pid/stat``, proc(5); the name in field 2 may contain anything, so count from its end.
    """
    stat = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return stat[19] if len(stat) > 19 and stat[0] not in "ZX" else None
