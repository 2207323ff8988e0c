"""``sdk.run``, again by its key."""

from typing import Any

import pytest

from investigation_sdk import AsyncInvestigationRun, InvestigationSDK
from investigation_sdk.testing import SimulatedCrash, crash_at
from tests.recording.resume.agents import look, ran, read


async def test_run_by_key(sdk: InvestigationSDK) -> None:
    async def handler(run: AsyncInvestigationRun) -> dict[str, Any]:
        async with run.phase("p"):
            return {"looked": look(1), "read": await read(2)}

    with pytest.raises(SimulatedCrash), crash_at("tool.completed", nth=2):
        await sdk.run(handler, "s", key="k")
    assert await sdk.run(handler, "s", key="k") == {"looked": {"n": 1}, "read": 2}
    assert ran == [("look", 1), ("read", 2), ("read", 2)]
    assert await sdk.run(handler, "s", key="k") == {"looked": {"n": 1}, "read": 2}
    assert len(ran) == 3


async def test_run_of_a_blocking_handler(sdk: InvestigationSDK) -> None:
    def handler(run: Any) -> int:
        with run.phase("p"):
            return look(1)["n"]

    assert [await sdk.run(handler, "s", key="k") for _ in range(2)] == [1, 1]
    assert ran == [("look", 1)]
