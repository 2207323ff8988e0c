"""The end of a call: what its body returned or raised becomes an event, and whoever made the call may have to wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from investigation_sdk.clock import monotonic_ns, now_us
from investigation_sdk.domain.commands import Fact
from investigation_sdk.domain.events import Blob, Event
from investigation_sdk.domain.states import Effect
from investigation_sdk.engine import probes
from investigation_sdk.engine.entries import Entry
from investigation_sdk.engine.texts import clean
from investigation_sdk.ids import uuid7
from investigation_sdk.recording import caching, giving_back, spooling
from investigation_sdk.recording.call import Call
from investigation_sdk.recording.capture import MASKED
from investigation_sdk.recording.driver import Driver
from investigation_sdk.recording.failures import describe_error, is_interrupt, keep_confidential, was_cancelled
from investigation_sdk.recording.items import Items
from investigation_sdk.recording.steps import Step
from investigation_sdk.storage.codec import Json

_ALWAYS: Final = 4
"""Members that every ``tool.completed`` has: call, completed_at, duration_ms, output."""


def complete(driver: Driver, call: Call, value: Any) -> Entry | None:
    """The body returned `value`; what to wait for before the caller gets it."""
    data, time = _ended(call)
    spec = call.spec
    output, warnings, blobs = spec.output(value, driver.options.max_inline_bytes)
    if call.cache_key is not None and not (warnings or blobs):
        caching.keep(driver, call, output)
    data["output"] = output
    tool = call.reported
    summary = None if tool is None else tool.summary
    if summary is None and spec.summary is not None:
        summary = spec.summarise(value)
    if summary is not None:
        data["summary"] = clean(summary)
    text = None
    if len(data) == _ALWAYS:  # the usual case, without the detour over object_text
        text = (
            f'{{"call":"{call.started.id}","completed_at":{time},"duration_ms":{data["duration_ms"]},'
            f'"output":{output}}}'
        )
    return _closed_well(driver, call, data, time, warnings, blobs, text)


def complete_cached(driver: Driver, call: Call, output: Json, value: Any) -> Step[None]:
    """Record a call whose result was kept, and wait until that is durable where it has to be."""
    call.started.data["source"] = "cached"
    call.started.text = None
    driver.start(call)
    data, time = _ended(call)
    data["output"] = output
    if (summary := call.spec.summarise(value)) is not None:
        data["summary"] = clean(summary)
    entry = _close(driver, call, "tool.completed", data, time)
    if entry is not None:
        yield from spooling.durable_or_kept(driver, entry)


def complete_items(driver: Driver, call: Call, items: Items) -> Entry | None:
    """The body was a generator that gave `items`; what to wait for."""
    data, time = _ended(call)
    masked = call.spec.masks_result
    data["output"] = MASKED if masked else items.text()
    blobs = () if masked else items.blobs
    tool = call.reported
    if tool is not None and tool.summary is not None:
        data["summary"] = clean(tool.summary)
    return _closed_well(driver, call, data, time, () if masked else tuple(items.warnings), blobs)


def _closed_well(
    driver: Driver,
    call: Call,
    data: dict[str, Any],
    time: int,
    warnings: Sequence[str],
    blobs: tuple[Blob, ...],
    text: str | None = None,
) -> Entry | None:
    spec = call.spec
    if warnings:
        driver.warn("output", warnings, call=call.started.id, tool=spec.name)
    if spec.effect is Effect.UNSAFE:
        lasting = giving_back.warning(spec, data["output"], blobs)
        driver.warn("not_rebuildable", lasting, call=call.started.id, tool=spec.name)
    return _close(driver, call, "tool.completed", data, time, text, blobs)


def fail(driver: Driver, call: Call, error: BaseException) -> Entry | None:
    """The body raised; what to wait for before the exception goes on: nothing where it is an interrupt."""
    data, time = _ended(call)
    if call.confidential is not None:
        keep_confidential(error, call.confidential)
    data["error"] = describe_error(error)
    if isinstance(error, call.spec.no_effect_on):
        data["no_effect"] = True
    if is_interrupt(error):
        data["kind"] = "cancelled" if was_cancelled(error) else "interrupted"
        _close(driver, call, "tool.interrupted", data, time)
        return None
    return _close(driver, call, "tool.failed", data, time)


def _ended(call: Call) -> tuple[dict[str, Any], int]:
    time = now_us()
    elapsed = (monotonic_ns() - call.begun) // 1000
    data: dict[str, Any] = {"call": call.started.id, "completed_at": time, "duration_ms": elapsed / 1000}
    if call.repeated:
        data["repeated"] = True
    tool = call.reported
    if tool is not None:
        if tool.usage is not None:
            data["usage"] = tool.usage
        if tool.progress is not None:
            data["progress"] = tool.progress
    return data, time


def _close(
    driver: Driver,
    call: Call,
    event_type: str,
    data: dict[str, Any],
    time: int,
    text: str | None = None,
    blobs: tuple[Blob, ...] = (),
) -> Entry | None:
    started = call.started
    if call.span is not None:
        call.span.end(event_type, data)
    event = Event(uuid7(), event_type, data, time, text=text, parent_call=started.parent_call, started=started)
    event.attempt = driver.attempt
    if blobs:
        event.blobs = blobs
    if probes.probe is not None:
        probes.probe(driver, event)
    entry = driver.recorder.submit(driver.session, Fact(event, driver.token), lazy=not driver.synchronous)
    if entry.acknowledged:
        return None
    return entry if driver.synchronous else driver.recorder.crowded(driver.session)
