"""What an error of PostgreSQL, or of the way to it, means for a batch: one table."""

from __future__ import annotations

import socket
import ssl
from enum import Enum
from typing import Final, NamedTuple

from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.storage.backend import CommitNotApplied, CommitUnknown, StoreFailure
from investigation_sdk.storage.commit import CommitResult, CommitStatus


class Means(Enum):
    """What is known after an error."""

    DATA = "data"
    """Not applied, by the fault of a value in it."""
    AGAIN = "again"
    """Not applied; trying again may help by itself."""
    FATAL = "fatal"
    """Not applied; somebody has to act."""
    UNKNOWN = "unknown"
    """Perhaps applied: the answer is lost."""


class Fault(NamedTuple):
    """One line of the table."""

    means: Means
    says: str


_CONTENDED: Final = "another session was in the way"
_POOLER: Final = (
    "a prepared statement was lost: is there a connection pooler in transaction mode between? Then pass pgbouncer=True"
)
_SCHEMA: Final = "its tables are not as this version expects; run 'investigate db check' and 'investigate db upgrade'"
_NAME_TAKEN: Final = (
    "something is in the way of one of its tables: see whose it is, and rename it, or pass schema= or table_prefix= to "
    "keep the SDK's apart from it"
)
_MISSING: Final = (
    "one of its tables is missing: dropped, renamed, or in a schema where this user does not look; bring it back, from "
    "a backup if need be. 'investigate db check' says what is different"
)
_CUT: Final = "the connection was cut"

FAULTS: Final = {
    "08": Fault(Means.UNKNOWN, _CUT),
    "08P01": Fault(Means.UNKNOWN, "the connection broke the protocol; what is between us and the server?"),
    "0A000": Fault(Means.AGAIN, "its schema was changed meanwhile"),
    "22": Fault(Means.DATA, "a value cannot be stored"),
    "23": Fault(Means.DATA, "a row breaks a constraint"),
    "25006": Fault(Means.FATAL, "it takes no writes: a standby, or a read-only session; connect to the primary"),
    "26000": Fault(Means.FATAL, _POOLER),
    "28": Fault(Means.FATAL, "the server does not let this user in; check user, password and pg_hba.conf"),
    "3D000": Fault(Means.FATAL, "there is no such database; create it, or correct the URL"),
    "3F000": Fault(Means.FATAL, _MISSING),
    "40": Fault(Means.AGAIN, _CONTENDED),
    "40003": Fault(Means.UNKNOWN, "the server does not know how the statement ended"),
    "42": Fault(Means.FATAL, _SCHEMA),
    "42P01": Fault(Means.FATAL, _MISSING),
    "42P07": Fault(Means.FATAL, _NAME_TAKEN),
    "42710": Fault(Means.FATAL, _NAME_TAKEN),
    "42501": Fault(Means.FATAL, "this user lacks a privilege; grant it, or connect as the owner of the tables"),
    "42P05": Fault(Means.FATAL, _POOLER),
    "44": Fault(Means.DATA, "a row breaks a rule of a view"),
    "53": Fault(Means.AGAIN, "the server is out of resources"),
    "53100": Fault(Means.FATAL, "the server's disk is full; free some space there"),
    "53300": Fault(Means.AGAIN, "the server has no connection left; make pool_size smaller, or max_connections larger"),
    "53400": Fault(Means.FATAL, "a limit that is set on the server is reached"),
    "54": Fault(Means.DATA, "a value is larger than the server takes"),
    "55": Fault(Means.AGAIN, _CONTENDED),
    "55P03": Fault(Means.AGAIN, "another session holds a lock for longer than we wait; look into pg_stat_activity"),
    "57": Fault(Means.UNKNOWN, "the server ended the session"),
    "57014": Fault(Means.AGAIN, "the statement was cancelled, or took longer than command_timeout"),
    "57P03": Fault(Means.AGAIN, "the server is starting or stopping"),
    "57P04": Fault(Means.FATAL, "the database was dropped"),
    "58": Fault(Means.FATAL, "the server has trouble with its disk; look into its log"),
    "P0": Fault(Means.DATA, "a trigger refuses the row"),
    "XX": Fault(Means.FATAL, "the server reports an internal error; look into its log"),
}
"""By SQLSTATE, or its class where the state itself has no line."""

TAKEN: Final = ("42P07", "42710")
"""Of what is in the way: a relation, or anything else, of that name."""

OTHER: Final = Fault(Means.FATAL, "the server refuses the statement")
LOST: Final = Fault(Means.UNKNOWN, _CUT)
NOT_SENT: Final = Fault(Means.AGAIN, "the connection is closed")
SILENT: Final = Fault(Means.UNKNOWN, "the server did not answer in time")

_NO_PARTITION: Final = "no partition of relation"


def sqlstate(error: BaseException) -> str:
    """The server's five characters; empty where it is not the server that speaks."""
    state: str | None = getattr(error, "sqlstate", None)
    return state or ""


def fault(error: BaseException) -> Fault:
    """The line for an error of a statement."""
    state = sqlstate(error)
    if state:
        return FAULTS.get(state) or FAULTS.get(state[:2], OTHER)
    if isinstance(error, TimeoutError):
        return SILENT
    if isinstance(error, OSError | EOFError):
        return LOST
    return NOT_SENT if "closed" in str(error) else LOST


def connect_fault(error: BaseException) -> Fault:
    """The line for an error of connecting: nothing was sent, so nothing is unknown."""
    if isinstance(error, socket.gaierror):
        return Fault(Means.AGAIN, "there is no host of that name; correct the URL")
    if isinstance(error, ssl.SSLError):
        return Fault(Means.FATAL, "no safe connection: the certificates do not fit; see sslmode and sslrootcert")
    if isinstance(error, TimeoutError):
        return Fault(Means.AGAIN, "it does not answer within connect_timeout; is it reachable from here?")
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return Fault(Means.AGAIN, "nobody listens there; is the server running, and is the port right?")
    found = fault(error)
    if found is LOST:
        return Fault(Means.AGAIN, "it cannot be reached")
    return Fault(Means.AGAIN, found.says) if found.means is Means.UNKNOWN else found


def lacks_partition(error: BaseException) -> bool:
    """Whether an event had no partition to go to."""
    return sqlstate(error) == "23514" and _NO_PARTITION in message(error)


def message(error: BaseException) -> str:
    """What the server says, without its details: those quote values."""
    if not sqlstate(error):
        return type(error).__name__
    text = str(error.args[0]) if error.args else type(error).__name__
    # the driver's own complaints quote what was to be stored
    return text.partition(":")[0] if text.startswith("invalid input for query argument") else text


def explain(found: Fault, error: BaseException, place: str) -> str:
    """A message for whoever has to act."""
    return f"{place}: {found.says} (PostgreSQL: {message(error)})"


def batch_failed(found: Fault, error: BaseException, place: str) -> CommitNotApplied | CommitUnknown | StoreFailure:
    """The error of a whole batch."""
    said = explain(found, error, place)
    if found.means is Means.UNKNOWN:
        return CommitUnknown(said)
    return CommitNotApplied(said) if found.means is Means.AGAIN else StoreFailure(said)


def unavailable(found: Fault, error: BaseException, place: str) -> BackendUnavailable:
    """The error of a call that is not a commit."""
    return BackendUnavailable(explain(found, error, place))


def answer(error: BaseException) -> CommitResult:
    """The answer to the one commit whose values caused this error."""
    state = sqlstate(error)
    said = f"{type(error).__name__}: {message(error)}"
    if state.startswith("54"):
        return CommitResult(CommitStatus.SIZE, None, said)
    if state.startswith(("23", "44")) and state != "23502":
        return CommitResult(CommitStatus.CONSTRAINT, None, said)
    return CommitResult(CommitStatus.DATA, None, said)
