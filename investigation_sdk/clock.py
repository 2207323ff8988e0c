"""The two clocks that the recorder reads, in one place so that tests can set them."""

import time
from datetime import UTC, datetime, timedelta

from investigation_sdk.errors import InvalidArgument

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now_us() -> int:
    """Wall-clock time: µs since 1970-01-01 UTC. It may step; nothing is ordered by it."""
    return time.time_ns() // 1000


def monotonic_ns() -> int:
    """A clock that never steps, in ns, for durations only."""
    return time.perf_counter_ns()


def to_datetime(time_us: int) -> datetime:
    """µs since the epoch as an aware UTC datetime, exactly."""
    return _EPOCH + timedelta(microseconds=time_us)


def from_datetime(moment: datetime) -> int:
    """An aware datetime as µs since the epoch, exactly.

    Raises:
        InvalidArgument: it has no time zone.
    """
    if moment.tzinfo is None:
        raise InvalidArgument(f"{moment!r} has no time zone; write datetime.now(timezone.utc) or add tzinfo=")
    return (moment - _EPOCH) // _MICROSECOND
