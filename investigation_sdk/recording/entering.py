"""Entering an investigation's block: by creating one, by its key, or by its id."""

from __future__ import annotations

from typing import Literal

from investigation_sdk.engine import keys, opening
from investigation_sdk.engine.creation import Creation
from investigation_sdk.engine.recorded import Recorded
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.session import Session
from investigation_sdk.engine.tracing import Trace
from investigation_sdk.recording.driver import Driver, Options
from investigation_sdk.recording.frames import current_frame
from investigation_sdk.recording.resume import Resume
from investigation_sdk.recording.steps import Step
from investigation_sdk.storage.commit import Lease


def create(
    recorder: Recorder,
    options: Options,
    creation: Creation,
    on_finished: Literal["return", "new", "error"],
    wait: float | None,
    trace: Trace | None,
) -> Step[Driver]:
    """Create it. Where its key names one that is not finished, go on with that; where that is finished, do what
    `on_finished` says.

    Raises:
        InvestigationBusy: somebody else drives it.
        InvestigationFinished: it is finished, and that is an error here.
        InvestigationCancelled: it was cancelled.
    """
    around = current_frame.get()
    opened = yield keys.open_by_key(
        recorder,
        creation,
        tenant=options.tenant,
        actor=options.actor,
        on_finished=on_finished,
        wait=wait,
        around=None if around is None else around.driver.session.id,
        trace=trace,
    )
    session = opened.session
    if opened.finished:
        return Driver(recorder, session, options, finished=True)
    driver = _driver(recorder, session, options, opened.recorded, trace)
    if opened.is_new:
        driver.warn("creation", creation.warnings)
        return driver
    fold, given = session.decided, creation.data["subject"]
    if fold.subject != given:
        message = f"key {fold.key!r} was opened with the subject {given!r}; it stays {fold.subject!r}"
        driver.warn("subject_changed", (message,))
    return driver


def attach(
    recorder: Recorder,
    options: Options,
    investigation_id: str,
    wait: float | None,
    trace: Trace | None,
    lease: Lease | None = None,
) -> Step[Driver]:
    """Take over one that exists, with what earlier attempts recorded; a worker has its `lease` already."""
    session, found = yield opening.take_up(
        recorder, investigation_id, wait=wait, actor=options.actor, trace=trace, lease=lease
    )
    return _driver(recorder, session, options, found, trace)


def _driver(
    recorder: Recorder, session: Session, options: Options, found: Recorded | None, trace: Trace | None
) -> Driver:
    driver = Driver(recorder, session, options, trace=trace)
    if found is not None and len(found):
        driver.resume = Resume(driver, found)
    return driver
