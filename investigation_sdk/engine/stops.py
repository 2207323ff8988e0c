"""Stops: why the owner in this process may start no new body."""

from __future__ import annotations

from investigation_sdk.domain.fold import Fold
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.errors import InvestigationCancelled, InvestigationError, InvestigationPaused, LeaseLost


def why_stop(fold: Fold, token: str | None) -> InvestigationError | None:
    """What stops whoever drives it under `token`; None if nothing does, or nobody drives it here."""
    if token is None:
        return None
    id = fold.id
    if fold.status is InvestigationState.CANCELLED:
        return InvestigationCancelled(
            f"Investigation {id} was cancelled; nothing more is started in it.", investigation_id=id
        )
    if fold.token != token:
        now = f"is driven by {fold.owner or 'nobody'} now, no longer by this block."
        return LeaseLost(f"Investigation {id} {now}", investigation_id=id)
    if fold.status is InvestigationState.PAUSED:
        return InvestigationPaused(
            f"Investigation {id} is paused. Resume it with sdk.service.resume({id!r}); if no block "
            "waits for that, drive it on with sdk.attach().",
            investigation_id=id,
        )
    return None
