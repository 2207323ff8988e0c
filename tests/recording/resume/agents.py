"""Tools that say what they did, and an agent that is killed and run again."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from investigation_sdk import InvestigationSDK, Resolution, current_tool, tool
from investigation_sdk.testing import SimulatedCrash, crash_at

ran: list[Any] = []
"""What bodies did, in order."""


@tool
def look(n: int) -> dict[str, int]:
    ran.append(("look", n))
    return {"n": n}


@tool(effect="read")
async def read(n: Any) -> Any:
    ran.append(("read", n))
    return n


@tool(effect="idempotent")
def ticket(title: str) -> str:
    ran.append(("ticket", current_tool().idempotency_key))
    return f"T-{title}"


class NothingDone(Exception):
    pass


class NothingDoneEither(NothingDone):
    pass


def of_bank(account: str, reason: str) -> Resolution:
    ran.append(("reconcile", account, reason))
    return of_bank.answer  # type: ignore[attr-defined,no-any-return]


@tool(effect="unsafe", identity=["account"], no_effect_on=(NothingDone,))
def freeze(account: str, reason: Any) -> bool:
    ran.append(("freeze", account, reason))
    if isinstance(reason, BaseException):
        raise reason
    return True


@tool(effect="unsafe", identity=["account"], reconcile=of_bank)
def freeze_or_ask(account: str, reason: str) -> str:
    ran.append(("freeze", account, reason))
    return "frozen"


async def crashing(sdk: InvestigationSDK, agent: Callable[[], Any], point: str = "tool.completed", nth: int = 1) -> str:
    """Run an agent in the investigation `k` until it is killed; the id."""
    id = ""
    with pytest.raises(SimulatedCrash), crash_at(point, nth=nth):
        async with sdk.investigation("s", key="k") as investigation:
            id = investigation.id
            await called(agent)
    return id


async def resumed(sdk: InvestigationSDK, agent: Callable[[], Any]) -> Any:
    """Run it again; what it gave."""
    async with sdk.investigation("s", key="k") as investigation:
        assert investigation.attempt > 1
        investigation.result = "done"
        return await called(agent)


async def called(agent: Callable[[], Any]) -> Any:
    answer = agent()
    return await answer if asyncio.iscoroutine(answer) else answer


async def summaries(sdk: InvestigationSDK, id: str) -> list[dict[str, Any]]:
    return [e.event_data async for e in sdk.iter_events(id, event_type="resume.summary")]
