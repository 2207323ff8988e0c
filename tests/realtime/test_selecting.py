"""What is found for who follows many, and comes again."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from investigation_sdk import InvestigationSDK
from investigation_sdk.realtime import directory
from investigation_sdk.realtime.cursors import Cursors
from investigation_sdk.realtime.directory import Directory
from investigation_sdk.realtime.hub import Hub
from investigation_sdk.realtime.selecting import Selection

from .waiting import LONG

UNKNOWN = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def sdk(make_sdk: Callable[..., InvestigationSDK], monkeypatch: pytest.MonkeyPatch) -> InvestigationSDK:
    monkeypatch.setattr(directory, "_OVERLAP_MS", 0)
    monkeypatch.setattr(directory, "_PAGE", 1)
    return make_sdk("memory://")


async def over(sdk: InvestigationSDK, user_id: str = "gil") -> str:
    record = await sdk.service.create_investigation(user_id, "account 42", "general", queue=False)
    await sdk.service.cancel(record.id)
    await asyncio.sleep(0.005)  # ids are of milliseconds
    return record.id


async def found(sdk: InvestigationSDK, after: Mapping[str, int], user_id: str | None = None) -> set[str]:
    """What is to be followed at once, of three that are over and one that is under way."""

    async def look(hub: Hub) -> set[str]:
        finding, selection = Directory(hub), Selection(user_id=user_id)
        try:
            return {row.id for row in (await finding.join(selection, Cursors(after), print)).rows}
        finally:
            finding.leave(selection, print)

    async with asyncio.timeout(LONG):
        return await sdk._recorder.acall(look(sdk.hub))


async def test_what_is_given_is_since_the_newest_that_is_there(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    anns = await over(sdk, "ann")
    first, second, third = [await over(sdk) for _ in range(3)]
    running = (await sdk.service.create_investigation("gil", "account 7", "general", queue=False)).id
    await asyncio.sleep(0.005)
    version = (await sdk.get(first)).version
    assert await found(sdk, {}) == {running}
    assert await found(sdk, {first: version}) == {first, second, third, running}
    assert await found(sdk, {second: version, UNKNOWN: 0}) == {second, third, running}
    assert await found(sdk, {UNKNOWN: 0}) == {running}, "what is not there says nothing of when it was here"
    assert await found(sdk, {anns: 0}, "gil") == {running}, "nor does what it does not follow"
    monkeypatch.setattr(directory, "MOST_MISSED", 2)
    assert await found(sdk, {first: version}) == {first, third, running}, "the newest of what was missed"
