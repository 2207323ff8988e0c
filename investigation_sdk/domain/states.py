"""The states, and the two tables that say which changes are legal."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class InvestigationState(StrEnum):
    """Where an investigation is in its life."""

    CREATED = "created"
    QUEUED = "queued"
    INITIALIZING = "initializing"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETING = "completing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRYING = "retrying"


class PhaseState(StrEnum):
    """Where one phase is."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class ToolState(StrEnum):
    """State of one call; that a result was replayed or cached is its `source`, not a state."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"


class Effect(StrEnum):
    """What running a tool twice would do. Undeclared (None) reruns like READ, is never cached, and is reported."""

    READ = "read"
    IDEMPOTENT = "idempotent"
    UNSAFE = "unsafe"


class Verb(StrEnum):
    """What can be asked of an investigation; the columns of :data:`WAYS`."""

    OPEN = "open"
    PAUSE = "pause"
    CANCEL = "cancel"
    RETRY = "retry"
    RESUME = "resume"
    END_WELL = "end_well"
    END_WITH_ERROR = "end_with_error"


_S = InvestigationState

ALLOWED_TRANSITIONS: Final[Mapping[InvestigationState, Sequence[InvestigationState]]] = MappingProxyType(
    {
        _S.CREATED: (_S.QUEUED, _S.CANCELLED),
        _S.QUEUED: (_S.INITIALIZING, _S.CANCELLED),
        _S.INITIALIZING: (_S.RUNNING, _S.FAILED),
        _S.RUNNING: (_S.PAUSED, _S.COMPLETING, _S.FAILED),
        _S.PAUSED: (_S.RUNNING, _S.CANCELLED),
        _S.COMPLETING: (_S.COMPLETED, _S.FAILED),
        _S.FAILED: (_S.RETRYING, _S.CANCELLED),
        _S.RETRYING: (_S.INITIALIZING, _S.FAILED),
        _S.COMPLETED: (),
        _S.CANCELLED: (),
    }
)
"""Every single change of state that is legal; each is exactly one event."""

Way = tuple[InvestigationState, ...] | None
"""The states to pass, in order. ``()``: nothing to do. ``None``: refused."""

_RESTART = (_S.RETRYING, _S.INITIALIZING, _S.RUNNING)
_R: Way = None
_NOTHING: Way = ()

# fmt: off
_TABLE: dict[InvestigationState, tuple[Way, ...]] = {
    #                open                                pause        cancel                      retry            resume         ends well                             ends with an error
    _S.CREATED:      ((_S.QUEUED, _S.INITIALIZING, _S.RUNNING), _R,  (_S.CANCELLED,),             _R,              _R,            _R,                                   _R),
    _S.QUEUED:       ((_S.INITIALIZING, _S.RUNNING),     _R,          (_S.CANCELLED,),            _R,              _R,            _R,                                   _R),
    _S.INITIALIZING: ((_S.FAILED, *_RESTART),            _R,          (_S.FAILED, _S.CANCELLED),  _R,              _R,            _R,                                   (_S.FAILED,)),
    _S.RUNNING:      ((_S.FAILED, *_RESTART),            (_S.PAUSED,), (_S.PAUSED, _S.CANCELLED), _R,              _NOTHING,      (_S.COMPLETING, _S.COMPLETED),        (_S.FAILED,)),
    _S.PAUSED:       (_NOTHING,                          _NOTHING,    (_S.CANCELLED,),            _R,              (_S.RUNNING,), (_S.RUNNING, _S.COMPLETING, _S.COMPLETED), (_S.RUNNING, _S.FAILED)),
    _S.COMPLETING:   ((_S.FAILED, *_RESTART),            _R,          _R,                         _R,              _R,            (_S.COMPLETED,),                      (_S.FAILED,)),
    _S.FAILED:       (_RESTART,                          _R,          (_S.CANCELLED,),            (_S.RETRYING,),  _R,            _R,                                   _R),
    _S.RETRYING:     ((_S.INITIALIZING, _S.RUNNING),     _R,          (_S.FAILED, _S.CANCELLED),  _NOTHING,        _R,            _R,                                   _R),
    _S.COMPLETED:    (_R,                                _R,          _R,                         _R,              _R,            _R,                                   _R),
    _S.CANCELLED:    (_R,                                _R,          _NOTHING,                   _R,              _R,            _R,                                   _R),
}
# fmt: on

WAYS: Final[Mapping[InvestigationState, Mapping[Verb, Way]]] = MappingProxyType(
    {state: MappingProxyType(dict(zip(Verb, ways, strict=True))) for state, ways in _TABLE.items()}
)
"""From each state, what each verb does: the legal ways through :data:`ALLOWED_TRANSITIONS`.

PAUSED + OPEN stays paused (running if a resume was requested), PAUSED + RESUME of an undriven investigation
records a request instead; those two depend on more than the state and are decided in :mod:`.decide`.
"""

TERMINAL: Final = frozenset({_S.COMPLETED, _S.CANCELLED})
"""States that nothing leaves."""

ENDED: Final = TERMINAL | {_S.FAILED}
"""States in which nobody works on it, and nobody will unless somebody asks for it."""
