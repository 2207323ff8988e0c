"""Entering an investigation's block: by creating one, by its key, or by its id."""

from __future__ import annotations

from typing import Any, Literal

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.engine import opening
from investigation_sdk.engine.creation import Creation
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.tracing import Trace
from investigation_sdk.engine.writer import KeyTaken
from investigation_sdk.errors import InvestigationCancelled, InvestigationFinished
from investigation_sdk.recording.context import current_frame
from investigation_sdk.recording.driver import Driver, Options
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
    data = creation.data
    generation = 1
    while True:
        try:
            made = creation._replace(data={**data, "generation": generation})
            session = yield opening.create(
                recorder, made, tenant=options.tenant, actor=options.actor, drive=True, trace=trace
            )
            driver = Driver(recorder, session, options, trace=trace)
            driver.warn("creation", creation.warnings)
            return driver
        except KeyTaken as taken:
            row = yield opening.newest(recorder, data, options.tenant)
            completed = row.status == InvestigationState.COMPLETED.value
            over = completed or row.status == InvestigationState.CANCELLED.value
            if on_finished == "new" and over:
                generation = row.generation + 1
                continue
            if on_finished == "return" and completed:
                session = yield recorder.session(row.id)
                return Driver(recorder, session, options, finished=True)
            if over:
                newest = KeyTaken(str(taken), existing_id=row.id)
                error = yield opening.existing(recorder, newest, data)
                raise error from None
        around = current_frame.get()
        inside = around is not None and around.driver.session.id == row.id  # to wait for it would be to wait for ever
        try:
            driver = yield from attach(recorder, options, row.id, 0 if inside else wait, trace)
        except (InvestigationFinished, InvestigationCancelled):
            continue  # by its owner, while it was waited for
        _compare(driver, row, data)
        return driver


def _compare(driver: Driver, row: InvestigationRow, data: dict[str, Any]) -> None:
    if row.subject != data["subject"]:
        message = f"key {row.key!r} was opened with the subject {data['subject']!r}; it stays {row.subject!r}"
        driver.warn("subject_changed", (message,))


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
    driver = Driver(recorder, session, options, trace=trace)
    if found is not None and len(found):
        driver.resume = Resume(driver, found)
    return driver
