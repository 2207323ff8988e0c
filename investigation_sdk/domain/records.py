"""Records: what the reading side gives out. One pydantic model per table, fields named as the columns.

All times are aware UTC; ids are canonical lower-case text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, overload

from pydantic import BaseModel, ConfigDict

from investigation_sdk.domain.progress import MAX_WEIGHT, valid_weight
from investigation_sdk.domain.states import Effect, InvestigationState, PhaseState, ToolState

T_co = TypeVar("T_co", covariant=True)


class _Record(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, defer_build=True)


class PhasePlan(BaseModel):
    """One planned phase: ``PhasePlan("network", weight=3, tools=("vpn",))``.

    Attributes:
        weight: Its share of the progress, relative to the others'.
        tools: Names or decorated functions that it is expected to call.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    name: str
    weight: float = 1
    tools: tuple[str, ...] = ()

    def __init__(self, name: str, weight: float = 1, tools: Sequence[str | Callable[..., Any]] = ()) -> None:
        if not name:
            raise ValueError("a phase needs a name")
        if not valid_weight(weight):
            raise ValueError(
                f"the weight of phase {name!r} is {weight!r}; it must be a number greater than 0, "
                f"at most {MAX_WEIGHT:g}"
            )
        if isinstance(tools, str):
            raise TypeError(f"tools={tools!r} is one text; give a list of names: tools=[{tools!r}]")
        names = tuple(t if isinstance(t, str) else _name(t) for t in tools)
        super().__init__(name=name, weight=weight, tools=names)


def _name(fn: Callable[..., Any]) -> str:
    spec = getattr(fn, "__investigation_tool__", None)
    return str(getattr(spec, "name", None) or getattr(fn, "__name__", type(fn).__name__))


class Usage(_Record):
    """What was reported as used; the sums are exact."""

    tokens_used: int = 0
    api_calls_made: int = 0
    cost_estimate: Decimal = Decimal(0)


class Investigation(_Record):
    """One investigation, as of `version`."""

    id: str
    user_id: str | None
    subject: str
    investigation_type: str
    key: str | None
    status: InvestigationState
    current_phase: str | None
    progress_percentage: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    updated_at: datetime
    retry_count: int
    error_message: str | None
    failure_kind: str | None
    """Of a failed one: error, crashed, timeout, lease_lost, interrupted, max_recoveries."""
    parent_investigation_id: str | None
    result: Any
    metadata: dict[str, Any]
    configuration: dict[str, Any]
    usage: Usage
    version: int
    """The sequence of its last event."""
    tenant_id: str | None


class InvestigationPhase(_Record):
    """One phase."""

    id: str
    investigation_id: str
    phase_name: str
    phase_order: int
    status: PhaseState
    progress_percentage: int
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None
    input_data: Any
    output_data: Any
    error_details: dict[str, Any] | None
    """``type``, ``message`` and ``traceback`` of what it failed with."""


Source: TypeAlias = Literal["executed", "replayed", "cached", "reported"]
"""Where a call's result came from."""


class ToolExecution(_Record):
    """One call of a tool."""

    id: str
    investigation_id: str
    phase_id: str | None
    agent_name: str
    tool_name: str
    tool_version: str | None
    started_at: datetime
    completed_at: datetime | None
    duration_ms: int | None
    status: ToolState
    input_parameters: dict[str, Any]
    output_result: Any
    error_message: str | None
    tokens_used: int | None
    api_calls_made: int | None
    cost_estimate: Decimal | None
    effect: Effect | None
    source: Source
    attempt: int
    result_summary: str | None


class InvestigationEvent(_Record):
    """One event of the log. `hash` is hexadecimal."""

    id: str
    investigation_id: str
    sequence: int
    event_type: str
    event_timestamp: datetime
    actor: str | None
    previous_state: InvestigationState | None
    new_state: InvestigationState | None
    event_data: dict[str, Any]
    metadata: dict[str, Any]
    hash: str


class InvestigationSnapshot(_Record):
    """State up to one event, saved so that it need not be folded again."""

    id: str
    investigation_id: str
    snapshot_timestamp: datetime
    snapshot_type: str
    state_data: dict[str, Any]
    phase_states: dict[str, Any]
    tool_states: dict[str, Any]


class Problem(_Record):
    """One thing in a log that does not add up."""

    sequence: int | None
    kind: str
    message: str


class VerificationReport(_Record):
    """What :meth:`InvestigationSDK.verify` found. Its truth value is refused: write ``report.ok``."""

    investigation_id: str
    ok: bool
    checked: int
    """Events that were checked."""
    head: str
    """Hash of the last event, hexadecimal; write it down elsewhere to notice a tail cut off together with it."""
    problems: list[Problem]

    def __bool__(self) -> bool:
        raise TypeError("a VerificationReport is neither true nor false; write report.ok")


class Page(Sequence[T_co], Generic[T_co]):
    """A list that knows whether it is all: `next` is None on the last page, else what to pass as ``after=``."""

    def __init__(self, items: Sequence[T_co], next: str | None = None) -> None:  # noqa: A002 - its name is public
        self._items = items
        self.next = next

    @overload
    def __getitem__(self, i: int) -> T_co: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[T_co]: ...
    def __getitem__(self, i: int | slice) -> T_co | Sequence[T_co]:
        return self._items[i]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T_co]:
        return iter(self._items)

    def __repr__(self) -> str:
        return f"Page({list(self._items)!r}, next={self.next!r})"
