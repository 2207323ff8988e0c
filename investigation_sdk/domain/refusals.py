"""Refusals: what a command needs of an investigation, and what is raised where that is not so."""

from __future__ import annotations

from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.states import ALLOWED_TRANSITIONS, InvestigationState
from investigation_sdk.errors import (
    InvalidStateTransition,
    InvestigationCancelled,
    InvestigationPaused,
    LeaseLost,
    VersionConflict,
)

_S = InvestigationState


def existing(fold: Fold) -> InvestigationState:
    """Its state.

    Raises:
        VersionConflict: it is not created yet.
    """
    if fold.status is None:
        raise VersionConflict(f"Investigation {fold.id} is not created yet.", investigation_id=fold.id)
    return fold.status


def drives(fold: Fold, token: str | None) -> bool:
    """Whether the token is the present owner's."""
    return token is not None and token == fold.token


def owned(fold: Fold, token: str | None) -> InvestigationState:
    """The state, if the token is the present owner's.

    Raises:
        LeaseLost, InvestigationCancelled: it is not.
    """
    status = existing(fold)
    if drives(fold, token):
        return status
    if status is _S.CANCELLED:
        raise InvestigationCancelled(f"Investigation {fold.id} was cancelled.", investigation_id=fold.id)
    holder = f"{fold.owner} drives it now" if fold.owner else f"it is {status.value} and nobody drives it"
    raise LeaseLost(
        f"Investigation {fold.id} is no longer this block's: {holder}. What ran was recorded; nothing more is started.",
        investigation_id=fold.id,
    )


def check_running(fold: Fold) -> None:
    """It must be running.

    Raises:
        InvestigationPaused, InvalidStateTransition: it is not.
    """
    if fold.status is _S.PAUSED:
        raise InvestigationPaused(
            f"Investigation {fold.id} is paused. Resume it with sdk.service.resume({fold.id!r}).",
            investigation_id=fold.id,
        )
    if fold.status is not _S.RUNNING:
        raise refusal(fold, "start a phase or a call", _S.RUNNING)


def refusal(fold: Fold, what: str, requested: InvestigationState) -> InvalidStateTransition:
    """That cannot be done in the state that it is in."""
    status = fold.status
    assert status is not None
    allowed = ALLOWED_TRANSITIONS[status]
    names = ", ".join(state.value for state in allowed) or "none, it is final"
    return InvalidStateTransition(
        f"Cannot {what.replace('_', ' ')}: investigation {fold.id} is {status.value}. Next states: {names}.",
        current=status,
        requested=requested,
        allowed=allowed,
        investigation_id=fold.id,
    )
