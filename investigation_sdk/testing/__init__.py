"""For tests: of applications that use the SDK, and of backends. See the modules.

``assert_tools_called``, ``assert_state_path``, ``use_backend`` and ``crash_at`` are for applications;
:mod:`.contract` is the suite that every backend passes (``python -m investigation_sdk.testing URL`` runs it without
pytest), :mod:`.faults` makes one fail on purpose, and
:mod:`.servers` starts real PostgreSQL, Redis and MongoDB servers from wheels, and :mod:`.proxy` stands in front of one
and fails as told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from investigation_sdk.testing.assertions import assert_state_path as assert_state_path
    from investigation_sdk.testing.assertions import assert_tools_called as assert_tools_called
    from investigation_sdk.testing.simulation import SimulatedCrash as SimulatedCrash
    from investigation_sdk.testing.simulation import crash_at as crash_at
    from investigation_sdk.testing.simulation import use_backend as use_backend

_HOMES = {
    "SimulatedCrash": "simulation",
    "assert_state_path": "assertions",
    "assert_tools_called": "assertions",
    "crash_at": "simulation",
    "use_backend": "simulation",
}

__all__ = ["SimulatedCrash", "assert_state_path", "assert_tools_called", "crash_at", "use_backend"]


def __getattr__(name: str) -> Any:
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
