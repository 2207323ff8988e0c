"""Choices that users make when they set the SDK up."""

from enum import StrEnum


class Durability(StrEnum):
    """What is on disk when a call returns.

    SYNC: its completion, and the start of one that is idempotent or unsafe before its body runs.
    STRICT: both, always. BATCHED: neither; everything is flushed at the end of a phase, of the investigation,
    at ``flush()``, at exit and on SIGTERM, and a kill may lose what was queued, a few milliseconds of work.
    """

    SYNC = "sync"
    STRICT = "strict"
    BATCHED = "batched"
