"""What the driver's errors mean: one table."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Final, NamedTuple

from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import CommitNotApplied, CommitUnknown, StoreFailure
from investigation_sdk.storage.commit import CommitResult, CommitStatus

DUPLICATE: Final = 11000


class Outcome(Enum):
    """What is known of a write that ended with an error."""

    NOT_APPLIED = "not applied"
    """For certain, and another try may succeed."""
    UNKNOWN = "unknown"
    FATAL = "fatal"
    """Not applied, for certain, and trying again does not help."""


class Fault(NamedTuple):
    """What an error code means."""

    outcome: Outcome
    says: str


_NOT, _UNKNOWN, _FATAL = Outcome

FAULTS: Final = {
    8: Fault(_UNKNOWN, "the server failed"),
    13: Fault(_FATAL, "this user lacks privileges; grant it the role readWrite on this database"),
    18: Fault(_FATAL, "wrong user name or password, or another authSource than the user's"),
    20: Fault(_FATAL, "the server refuses writes; it may be read-only or a standalone"),
    50: Fault(_UNKNOWN, "it took longer than the server allows"),
    64: Fault(_UNKNOWN, "a majority of the replica set did not confirm the write in time"),
    79: Fault(_UNKNOWN, "the replica set does not know the write concern"),
    89: Fault(_UNKNOWN, "the network was too slow"),
    91: Fault(_UNKNOWN, "the server is shutting down"),
    100: Fault(_UNKNOWN, "the replica set has too few members that bear data for a majority"),
    112: Fault(_NOT, "others wrote at the same time"),
    189: Fault(_UNKNOWN, "the primary stepped down"),
    262: Fault(_UNKNOWN, "it took longer than the server allows"),
    8000: Fault(_FATAL, "the service refuses the user; check user, password and network access"),
    10107: Fault(_NOT, "the server is not the primary, or is read-only; check the members of the replica set"),
    11600: Fault(_UNKNOWN, "the server is shutting down"),
    11602: Fault(_UNKNOWN, "the replica set is electing a primary"),
    13435: Fault(_NOT, "the server is no primary; connect to the replica set"),
    13436: Fault(_NOT, "the server is starting or recovering"),
    14031: Fault(_FATAL, "the server's disk is full; free some space"),
}
"""By the server's code. What is not here was refused before it was begun."""

_OTHER: Final = Fault(_FATAL, "the server refused it")
_SILENT: Final = Fault(_UNKNOWN, "the connection was lost; the server may be down or unreachable")
_UNREACHED: Final = Fault(_NOT, "the server cannot be reached; check the host, the port, and that it runs")
_NO_HOST: Final = Fault(
    _NOT,
    "the DNS has no servers under that name; correct the host of the mongodb+srv URL, or name the servers in mongodb://",
)
_REFUSED: Final = Fault(_FATAL, "the driver cannot use the URL or its options")
_BUSY: Final = Fault(_NOT, "all connections are in use; raise pool_size")
_CLOSED: Final = Fault(_FATAL, "the client is closed")
_ENDING: Final = Fault(_NOT, "the process is ending")

_TOO_LARGE: Final = frozenset({10334, 17280, 17419, 17420})
_NO_PASSWORD: Final = re.compile(r"(?<=://)[^/@\s]*@")
_OF_DNS: Final = re.compile(r"\bDNS\b|\bSRV\b|resolution lifetime|nameservers", re.IGNORECASE)
_TOPOLOGY: Final = re.compile(r", Timeout: .*|, full error: .*", re.DOTALL)


def fault(error: BaseException) -> Fault:
    """What an error says of the whole call that raised it."""
    if isinstance(error, WaitQueueTimeoutError):
        return _BUSY
    if isinstance(error, ServerSelectionTimeoutError):
        inner = _handshake_fault(error)
        return _UNREACHED if inner is None else inner
    if isinstance(error, ConfigurationError):
        return _NO_HOST if _OF_DNS.search(str(error)) else _REFUSED
    code = getattr(error, "code", None)
    if isinstance(error, AutoReconnect):  # NotPrimaryError among them
        details: Any = getattr(error, "details", None) or {}
        return FAULTS.get(details.get("code", code), _SILENT)
    if isinstance(error, ConnectionFailure):
        return _SILENT
    if isinstance(error, InvalidOperation):
        return _CLOSED
    if isinstance(error, RuntimeError):
        return _ENDING
    if isinstance(error, BulkWriteError):
        return bulk_fault(error)
    if isinstance(error, OperationFailure):
        found = FAULTS.get(code or 0, _OTHER)
        if found is _OTHER and error.has_error_label("RetryableWriteError"):
            return _SILENT
        return found
    return _OTHER


def _handshake_fault(error: BaseException) -> Fault | None:
    """An authentication that fails keeps a server from being selected in some versions; the text says so."""
    return FAULTS[18] if "Authentication failed" in str(error) else None


def bulk_fault(error: BulkWriteError) -> Fault:
    """What the errors of single writes say of their command, duplicates left aside."""
    details: Any = error.details or {}
    found = [FAULTS.get(one.get("code"), _OTHER) for one in details.get("writeConcernErrors", ())]
    found += [
        FAULTS.get(one.get("code"), _OTHER)
        for one in details.get("writeErrors", ())
        if one.get("code") != DUPLICATE and one.get("code") not in _TOO_LARGE
    ]
    by_outcome = {one.outcome: one for one in found}
    for outcome in (_UNKNOWN, _FATAL, _NOT):
        if outcome in by_outcome:
            return by_outcome[outcome]
    return _OTHER


def explain(error: BaseException, place: str) -> str:
    """The message for whoever has to act. Never contains a password."""
    said = _TOPOLOGY.sub("", str(error))[:500]
    return f"{place}: {fault(error).says} (MongoDB: {_NO_PASSWORD.sub('', said)})"


def refuses_writes(error: BaseException) -> bool:
    """Whether the server takes no writes of this user, or of anybody."""
    codes = {13, 20, 10107}
    details: Any = getattr(error, "details", None) or {}
    return bool(codes & {getattr(error, "code", None), *(one.get("code") for one in details.get("writeErrors", ()))})


def unavailable(error: BaseException, place: str) -> BackendUnavailable:
    """The error of a call that is not a commit."""
    return BackendUnavailable(explain(error, place))


def batch_failed(error: BaseException, place: str, *, written: bool) -> Exception:
    """The error of a batch, of which some commits may have been `written` by this very call."""
    outcome = Outcome.UNKNOWN if written else fault(error).outcome
    kind = {_NOT: CommitNotApplied, _UNKNOWN: CommitUnknown, _FATAL: StoreFailure}[outcome]
    return kind(explain(error, place))


def too_large(size: int, limit: int) -> CommitResult:
    """The answer to a commit that no document can hold."""
    return CommitResult(
        CommitStatus.SIZE,
        None,
        f"the commit is a document of {size:,} bytes, and the server takes {limit:,}; record less at a time",
    )


def own_fault(write_error: Any) -> CommitResult | None:
    """The answer to a commit that the server refused for what is in it; None where it is not the commit's fault."""
    code = write_error.get("code")
    if code in _TOO_LARGE:
        return CommitResult(CommitStatus.SIZE, None, str(write_error.get("errmsg")))
    if code in (2, 22, 121):  # BadValue, InvalidBSON, a validator that somebody put on the collection
        return CommitResult(CommitStatus.DATA, None, str(write_error.get("errmsg")))
    return None


DRIVER_ERRORS: Final = (PyMongoError, RuntimeError)
"""What the drivers raise. RuntimeError: no thread can be had any more, at the end of the process."""

__all__ = [
    "DRIVER_ERRORS",
    "DUPLICATE",
    "FAULTS",
    "ConfigurationError",
    "DocumentTooLarge",
    "Fault",
    "Outcome",
    "batch_failed",
    "explain",
    "fault",
    "own_fault",
    "refuses_writes",
    "too_large",
    "unavailable",
]
