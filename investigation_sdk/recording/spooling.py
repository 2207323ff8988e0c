"""``on_store_failure="continue"``: an agent that goes on though the store takes nothing.

What happens is kept in memory, in order, up to the bounds of a session's queue, and written when the store answers.
Calls that begin when it is full are not recorded; how many is counted, and said in the record.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from investigation_sdk.domain.states import Effect
from investigation_sdk.engine.entries import Entry
from investigation_sdk.errors import BackendUnavailable
from investigation_sdk.recording.steps import Step

if TYPE_CHECKING:
    from investigation_sdk.recording.capture import ToolSpec
    from investigation_sdk.recording.driver import Driver

_log = logging.getLogger("investigation_sdk.recording")


def left_out(driver: Driver, spec: ToolSpec) -> bool:
    """Whether a call runs without a record where the store takes nothing, and no more is kept. It is counted. An unsafe
    one never is, as nobody would know that it was done; nor one that may have been recorded by an earlier attempt."""
    if not driver.options.goes_on or spec.effect is Effect.UNSAFE or driver.closed or driver.resume is not None:
        return False
    with driver.session.lock:
        driver.left_out += 1
    return True


def durable_or_kept(driver: Driver, entry: Entry) -> Step[None]:
    """Wait until an entry is durable; while the store takes nothing, it stays queued, and nobody waits."""
    try:
        yield from driver.wait_for(entry)
    except BackendUnavailable as down:
        if not driver.options.goes_on:
            raise
        goes_on(driver, down)


def goes_on(driver: Driver, down: BackendUnavailable) -> None:
    """Say, once for each block, that an agent goes on without its store."""
    if not driver.went_on:
        driver.went_on = True
        _log.warning(
            "Investigation %s goes on, and its record is kept in memory until the store takes it: %s",
            driver.session.id,
            down,
            extra={"investigation_id": driver.session.id},
        )


def say_what_was_left_out(driver: Driver) -> None:
    """Record how many calls are not in the record."""
    with driver.session.lock:
        count, driver.left_out = driver.left_out, 0
    if count:
        message = f"{count} calls ran that are not recorded: the store took nothing, and no more could be kept."
        driver.warn("left_out", (message,), count=count)
        _log.error("Investigation %s: %s", driver.session.id, message, extra={"investigation_id": driver.session.id})
