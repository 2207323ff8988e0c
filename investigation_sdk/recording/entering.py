"""Entering an investigation's block: by creating one, by its key, or by its id."""

from __future__ import annotations

from typing import Literal

from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.engine import opening, queries
from investigation_sdk.engine.creation import Creation
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.writer import KeyTaken
from investigation_sdk.recording.driver import Driver, Options
from investigation_sdk.recording.steps import Step


def create(
    recorder: Recorder,
    options: Options,
    creation: Creation,
    on_finished: Literal["return", "new", "error"],
) -> Step[Driver]:
    """Create it; where its key is taken, do what `on_finished` says.

    Raises:
        InvestigationUnfinished: the key names one that is not finished.
        InvestigationFinished: it is finished, and that is an error here.
        InvestigationCancelled: it was cancelled.
    """
    data = creation.data
    generation = 1
    while True:
        try:
            made = creation._replace(data={**data, "generation": generation})
            session = yield opening.create(recorder, made, tenant=options.tenant, actor=options.actor, drive=True)
            driver = Driver(recorder, session, options)
            driver.warn("creation", creation.warnings)
            return driver
        except KeyTaken as taken:
            row = yield queries.find(recorder.backend, data["key"], data["investigation_type"], options.tenant)
            over = row.status in (InvestigationState.COMPLETED.value, InvestigationState.CANCELLED.value)
            if on_finished == "new" and over:
                generation = row.generation + 1
                continue
            if on_finished == "return" and row.status == InvestigationState.COMPLETED.value:
                session = yield recorder.session(row.id)
                return Driver(recorder, session, options, finished=True)
            newest = KeyTaken(str(taken), existing_id=row.id)
            error = yield opening.existing(recorder, newest, data)
            raise error from None


def attach(recorder: Recorder, options: Options, investigation_id: str, wait: float | None) -> Step[Driver]:
    """Take over one that exists."""
    session = yield opening.take(recorder, investigation_id, wait=wait, actor=options.actor)
    return Driver(recorder, session, options)
