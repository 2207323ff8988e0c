"""Records: what the reading side gives out. One pydantic model per table, fields named as the columns.

All times are aware UTC; ids are canonical lower-case text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, overload

from pydantic import BaseModel, ConfigDict

from investigation_sdk.arguments import NAME_OR_FUNCTION, TEXT, check
from investigation_sdk.domain.progress import MAX_WEIGHT, valid_weight
from investigation_sdk.domain.states import Effect, InvestigationState, PhaseState, ToolState
from investigation_sdk.errors import InvalidArgument

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
        check(name=(name, TEXT))
        if not valid_weight(weight):
            raise InvalidArgument(
                f"the weight of phase {name!r} is {weight!r}; it must be a number greater than 0, "
                f"at most {MAX_WEIGHT:g}"
            )
        if isinstance(tools, str):
            raise InvalidArgument(f"tools={tools!r} is one text; give a list of names: tools=[{tools!r}]")
        if not isinstance(tools, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgument(f"tools={tools!r} is not a list of names and functions", argument="tools")
        for item in tools:
            check(tools=(item, NAME_OR_FUNCTION))
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
    """UUIDv7, canonical text."""
    user_id: str | None
    """On whose behalf."""
    subject: str
    """What is investigated, in a line."""
    investigation_type: str
    """What kind it is; keys are unique within a type."""
    key: str | None
    """Your own name for it."""
    status: InvestigationState
    current_phase: str | None
    """The phase entered last that is still open."""
    progress_percentage: int
    """0 to 99 by the weights of its phases, and 100 exactly when it is completed."""
    created_at: datetime
    started_at: datetime | None
    """When its first attempt began."""
    completed_at: datetime | None
    failed_at: datetime | None
    """When it failed; None again once it is tried again."""
    updated_at: datetime
    retry_count: int
    """How often it was tried again, after a failure or a crash."""
    error_message: str | None
    """Of a failed one: what it ended with."""
    failure_kind: str | None
    """Of a failed one: error, crashed, timeout, lease_lost, interrupted, max_recoveries."""
    parent_investigation_id: str | None
    result: Any
    """What its block set, once it is completed."""
    metadata: dict[Any, Any]
    """What was worth keeping when it was created; keys are what was given, text or not."""
    configuration: dict[Any, Any]
    """What it runs with; keys as in `metadata`."""
    usage: Usage
    """Sums of what was reported."""
    version: int
    """The sequence of its last event."""
    tenant_id: str | None
    """Whose it is."""


class InvestigationPhase(_Record):
    """One phase."""

    id: str
    investigation_id: str
    phase_name: str
    phase_order: int
    """Its place, from 1."""
    status: PhaseState
    progress_percentage: int
    """0 to 100; 100 when it is completed."""
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None
    """Milliseconds, by the monotonic clock."""
    input_data: Any
    output_data: Any
    """What its block set."""
    error_details: dict[str, Any] | None
    """``type``, ``message`` and ``traceback`` of what it failed with."""


Source: TypeAlias = Literal["executed", "replayed", "cached", "reported"]
"""Where a call's result came from."""


class ToolExecution(_Record):
    """One call of a tool."""

    id: str
    """Also the id of its ``tool.started`` event."""
    investigation_id: str
    phase_id: str | None
    """The phase in which it was called; None outside any."""
    agent_name: str
    tool_name: str
    tool_version: str | None
    started_at: datetime
    completed_at: datetime | None
    duration_ms: int | None
    """Milliseconds, by the monotonic clock."""
    status: ToolState
    input_parameters: dict[Any, Any]
    """The arguments by name, masked where they are sensitive; of a reported call what was given, keys of any kind."""
    output_result: Any
    """What it returned; of a generator, its items as far as they are kept."""
    error_message: str | None
    """Type and message of what it raised."""
    tokens_used: int | None
    """As reported, as are the next two."""
    api_calls_made: int | None
    cost_estimate: Decimal | None
    effect: Effect | None
    """As declared."""
    source: Source
    attempt: int
    """The attempt in which it was called."""
    result_summary: str | None
    """One line for people."""


class ToolTotals(_Record):
    """The calls of one tool by one agent in one phase, counted and added up."""

    phase_id: str | None
    agent_name: str
    tool_name: str
    calls: int
    by_status: dict[ToolState, int]
    """Calls by their state; states without any are left out."""
    duration_ms: int
    """Of all calls together, those at the same time included; of calls that are still running nothing."""


class InvestigationEvent(_Record):
    """One event of the log."""

    id: str
    investigation_id: str
    sequence: int
    """1, 2, 3, … within its investigation, without a gap."""
    event_type: str
    event_timestamp: datetime
    """Never earlier than that of the event before."""
    actor: str | None
    """Who caused it; None for the SDK itself."""
    previous_state: InvestigationState | None
    """Set on the events that change the state, as is `new_state`."""
    new_state: InvestigationState | None
    event_data: dict[Any, Any]
    """Its members by name; of an event of one's own what was given, keys of any kind."""
    metadata: dict[str, Any]
    """Notes on the record itself: ``late``, ``stale``."""
    hash: str
    """Over the event and the hash before it; hexadecimal."""


class InvestigationSnapshot(_Record):
    """State up to one event, saved so that it need not be folded again."""

    id: str
    investigation_id: str
    snapshot_timestamp: datetime
    snapshot_type: str
    state_data: dict[str, Any]
    phase_states: dict[str, Any]
    tool_states: dict[str, Any]


class Resolution(_Record):
    """What became of a call of unknown outcome; also what a ``reconcile`` function returns.

    Attributes:
        outcome: ``succeeded``: it was done, and `result` is given to whoever calls it now. ``failed`` and
            ``not_executed``: it was not done, and runs when it is called again.
        result: What it would have returned; of a generator, the list of the items that it would have given.
        reason: How that is known.
    """

    outcome: Literal["succeeded", "failed", "not_executed"]
    result: Any = None
    reason: str | None = None


class Problem(_Record):
    """One thing in a log that does not add up."""

    sequence: int | None
    """Of the event; None where no single one is concerned."""
    kind: str
    """changed, column, missing, inserted, order, header, truncated or head."""
    message: str
    """What does not add up."""


class VerificationReport(_Record):
    """What :meth:`InvestigationSDK.verify` found. Its truth value is refused: write ``report.ok``."""

    investigation_id: str
    ok: bool
    """Nothing was found."""
    checked: int
    """Events that were checked."""
    head: str
    """Hash of the last event, hexadecimal; write it down elsewhere to notice a tail cut off together with it."""
    problems: list[Problem]
    """What was found, in order."""

    def __bool__(self) -> bool:
        raise TypeError("a VerificationReport is neither true nor false; write report.ok")


class RowProblem(_Record):
    """One row that is not what its investigation's log adds up to."""

    kind: str
    """damaged or missing, which can be made again; ahead, head, extra, unreadable, busy, refused or more, which are
    reported."""
    table: str
    id: str
    """Of the row."""
    columns: list[str] = []
    """Those that differ."""
    message: str
    """What does not add up."""


class RowsReport(_Record):
    """What :meth:`InvestigationSDK.check` found. Its truth value is refused: write ``report.ok``."""

    investigation_id: str
    ok: bool
    """All rows are what the log adds up to."""
    checked: int
    """Events that were folded."""
    rows: int
    """Rows that were compared."""
    problems: list[RowProblem]
    """What is wrong, after the repair where one was asked for."""
    repaired: int = 0
    """So many problems were mended."""

    def __bool__(self) -> bool:
        raise TypeError("a RowsReport is neither true nor false; write report.ok")


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
