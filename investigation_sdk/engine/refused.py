"""Refused: answers of a store that are a commit's own fault, and what becomes of it."""

from __future__ import annotations

from investigation_sdk.engine.entries import Woken
from investigation_sdk.engine.outcomes import on_poison, on_rejected
from investigation_sdk.engine.session import Session
from investigation_sdk.errors import InvestigationError, InvestigationNotFound, PayloadTooLarge, RecordUnreadable
from investigation_sdk.storage.commit import CommitResult, CommitStatus


class KeyTaken(InvestigationError):
    """The key that was to be created names an investigation already: `existing_id`."""

    def __init__(self, message: str = "", *, existing_id: str = "", investigation_id: str | None = None) -> None:
        super().__init__(message, investigation_id=investigation_id)
        self.existing_id = existing_id


def refused(session: Session, result: CommitResult) -> Woken:
    """What follows from an answer that is the commit's own fault."""
    id = session.id
    error: InvestigationError
    if result.status is CommitStatus.SIZE:
        error = PayloadTooLarge(result.message, investigation_id=id)
    elif result.status is CommitStatus.CONSTRAINT and session.acked.version:
        error = RecordUnreadable(
            f"What the store holds of investigation {id} does not fit its log, so that nothing can follow: "
            f"{result.message}. Look with sdk.check({id!r}); `investigate check {id} --repair` makes its rows again.",
            reason=result.message,
            investigation_id=id,
        )
    else:
        error = InvestigationError(result.message or "refused by the store", investigation_id=id)
    if session.acked.version:
        return on_poison(session, error)
    if result.existing_id is not None:
        error = KeyTaken(result.message, existing_id=result.existing_id, investigation_id=id)
    elif result.status is CommitStatus.CONSTRAINT:
        error = InvestigationNotFound(result.message, investigation_id=id)
    return on_rejected(session, error)
