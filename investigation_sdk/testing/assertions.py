"""For tests of applications: what was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from investigation_sdk.domain.records import ToolExecution
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.ids import Id
from investigation_sdk.sdk import InvestigationSDK

ExpectedCall: TypeAlias = "str | tuple[str, Mapping[str, Any]]"
"""A tool's name, or its name and the arguments that the call must have had, others allowed."""


async def assert_tools_called(
    sdk: InvestigationSDK, investigation_id: Id, expected: Sequence[ExpectedCall], *, ordered: bool = True
) -> None:
    """Assert that these calls were recorded: in this order (others may stand between), or in any.

    Raises:
        AssertionError: which call was not found, and what was recorded instead.
    """
    calls = await _all_calls(sdk, investigation_id)
    left = list(calls)
    for wanted in expected:
        at = next((i for i, call in enumerate(left) if _fits(call, wanted)), None)
        if at is None:
            recorded = "\n".join(f"  {call.tool_name}({_arguments(call)})" for call in calls) or "  (none)"
            order = " after the ones before it" if ordered else ""
            raise AssertionError(f"no call of {wanted!r}{order}; recorded were:\n{recorded}")
        left = left[at + 1 :] if ordered else left[:at] + left[at + 1 :]


async def _all_calls(sdk: InvestigationSDK, investigation_id: Id) -> list[ToolExecution]:
    calls: list[ToolExecution] = []
    after: str | None = None
    while True:
        page = await sdk.tools(investigation_id, after=after, limit=1000)
        calls += page
        if page.next is None:
            return calls
        after = page.next


def _fits(call: ToolExecution, wanted: ExpectedCall) -> bool:
    if isinstance(wanted, str):
        return call.tool_name == wanted
    name, arguments = wanted
    given = call.input_parameters
    return call.tool_name == name and all(k in given and given[k] == v for k, v in arguments.items())


def _arguments(call: ToolExecution) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in call.input_parameters.items())


async def assert_state_path(
    sdk: InvestigationSDK, investigation_id: Id, expected: Sequence[InvestigationState | str]
) -> None:
    """Assert that the investigation went through exactly these states, in this order, from ``created`` on.

    Raises:
        AssertionError: the path that it took.
    """
    path = [e.new_state async for e in sdk.iter_events(investigation_id) if e.new_state is not None]
    wanted = [InvestigationState(state) for state in expected]
    if path != wanted:
        raise AssertionError(
            f"the states were {' -> '.join(s.value for s in path)}, not {' -> '.join(s.value for s in wanted)}"
        )
