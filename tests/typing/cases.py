"""What type checkers must see: run by test_typing.py under mypy --strict and pyright strict."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, assert_type

from pydantic import BaseModel, Field

from investigation_sdk import (
    AsyncInvestigationRun,
    AsyncPhaseRun,
    Durability,
    Effect,
    Investigation,
    InvestigationContext,
    InvestigationEvent,
    InvestigationPhase,
    InvestigationRun,
    InvestigationSDK,
    InvestigationState,
    Page,
    PhasePlan,
    PhaseRun,
    ToolCall,
    ToolExecution,
    Usage,
    VerificationReport,
    agent,
    current_investigation,
    current_tool,
    phase,
    propagate,
    tool,
)

sdk = InvestigationSDK("memory://", durability=Durability.SYNC, on_pause="raise", lease_ttl=timedelta(seconds=5))


class In(BaseModel):
    """An argument."""

    q: str


@tool
def s(a: int, *, b: str = "x") -> float:
    return 1.0


@tool(name="n", version="1", effect="read", ignore=["m"])
async def c(a: Annotated[int, Field(ge=0)], m: In) -> list[str]:
    return []


@tool
def g(n: int) -> Iterator[int]:
    yield n


@tool(effect=Effect.UNSAFE, summary=str)
async def ag(n: int) -> AsyncIterator[str]:
    yield ""


class K:
    """Methods."""

    @tool
    def m(self, x: int) -> str:
        return ""

    @tool(name="am")
    async def am(self, x: int) -> str:
        return ""

    @tool
    @classmethod
    def cm(cls, x: int) -> str:  # noqa: ARG003
        return ""

    @classmethod
    @tool
    def cm2(cls, x: int) -> str:  # noqa: ARG003
        return ""

    @staticmethod
    @tool
    def sm(x: int) -> str:  # noqa: ARG004
        return ""


class Callee:
    """A callable object."""

    def __call__(self, x: int) -> bytes:
        return b""


co = tool(Callee())
pa = tool(functools.partial(s, b="y"))


@phase("decorated", weight=2, tools=[s, "other"])
async def decorated(x: int) -> str:
    return ""


@agent("triage", model="small")
def acts(x: int) -> str:
    return ""


def run(sync: InvestigationSDK) -> int:
    with sync as same, same.investigation("x", phases=["a", PhasePlan("b", weight=2)]) as inv:
        assert_type(inv, InvestigationRun)
        with inv.phase("p", input_data=1) as p:
            assert_type(p, PhaseRun)
            p.progress(0.5)
        inv.checkpoint({})
        with sync.attach(inv.id) as attached:
            assert_type(attached, InvestigationRun)
        with phase("q") as q:
            assert_type(q, PhaseRun)
        return 1  # and no missing return below: __exit__ gives None


async def arun() -> None:
    assert_type(s(1, b="y"), float)
    assert_type(await c(1, In(q="")), list[str])
    assert_type(g(1), Iterator[int])
    async for z in ag(1):
        assert_type(z, str)
    assert_type(K().m(1), str)
    assert_type(await K().am(1), str)
    assert_type(K.cm(1), str)
    assert_type(K.cm2(1), str)
    assert_type(K.sm(1), str)
    assert_type(co(1), bytes)
    assert_type(pa(1), float)
    assert_type(await decorated(1), str)
    assert_type(acts(1), str)
    assert_type(propagate(s)(1, b=""), float)
    assert_type(current_tool(), ToolCall)
    assert_type(current_investigation(), InvestigationContext | None)
    async with sdk.investigation("x", on_finished="new") as inv:
        assert_type(inv, AsyncInvestigationRun)
        async with inv.phase("p") as p, phase("q") as q:
            assert_type(p, AsyncPhaseRun)
            assert_type(q, AsyncPhaseRun)
        await inv.checkpoint(1)
        assert_type(inv.usage, Usage)
        assert_type(inv.state, InvestigationState)
        assert_type(inv.metadata, Mapping[str, Any])


async def reads() -> None:
    assert_type(await sdk.get("x"), Investigation)
    assert_type(await sdk.find(key="x"), Investigation | None)
    assert_type(await sdk.list(status=InvestigationState.RUNNING, since=timedelta(days=1)), Page[Investigation])
    assert_type(await sdk.phases("x"), Sequence[InvestigationPhase])
    page = await sdk.tools("x")
    assert_type(page, Page[ToolExecution])
    assert_type(page[0], ToolExecution)
    assert_type(page.next, str | None)
    assert_type(await sdk.events("x"), Page[InvestigationEvent])
    async for event in sdk.iter_events("x"):
        assert_type(event, InvestigationEvent)
    assert_type(await sdk.verify("x"), VerificationReport)
    assert_type(await sdk.flush(), int)
    assert_type(sdk.sync.get("x"), Investigation)
    assert_type(sdk.sync.tools("x"), Page[ToolExecution])
    for event in sdk.sync.iter_events("x"):
        assert_type(event, InvestigationEvent)
    assert_type(await sdk.service.pause("x", actor="gil"), Investigation)
    assert_type(sdk.sync.service.pause("x"), Investigation)


@sdk.service.on_state(InvestigationState.COMPLETED)
async def hook(investigation: Investigation, event: InvestigationEvent) -> None: ...
