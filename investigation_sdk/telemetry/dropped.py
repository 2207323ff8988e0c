"""What OpenTelemetry could not be told, because a part of it failed. The record is not concerned, and goes on."""

from __future__ import annotations

import contextlib
import logging
from typing import Final

_log = logging.getLogger("investigation_sdk.telemetry")
_MAX: Final = 100
_said: set[tuple[str, type[BaseException]]] = set()


def dropped(what: str, failed: Exception) -> None:
    """Warn that `what` is not reported: once in a process for each kind of failure, as it may be so at every call."""
    kind = what, type(failed)
    if kind in _said or len(_said) >= _MAX:
        return
    _said.add(kind)
    with contextlib.suppress(Exception):  # log lines may go to OpenTelemetry, too
        _log.warning(
            "OpenTelemetry failed, and %s is not reported. The record is complete; more of this kind is not logged.",
            what,
            exc_info=failed,
        )
