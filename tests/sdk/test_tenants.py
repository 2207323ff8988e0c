"""Tenants on one store: what is another's is not there."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_sdk import InvestigationNotFound, InvestigationSDK, InvestigationState, tool
from investigation_sdk.ids import uuid7

Make = Callable[..., InvestigationSDK]
SDKs = tuple[InvestigationSDK, InvestigationSDK, InvestigationSDK]


@tool
def login(secret: str) -> str:
    return secret


@pytest.fixture(params=["inline", "writer", "sqlite"])
def sdks(request: pytest.FixtureRequest, sqlite_url: str, make_sdk: Make) -> SDKs:
    """Of tenant a, of tenant b and of none, on one store."""
    store = MemoryBackend().store
    if request.param == "sqlite":
        places: list[Any] = [sqlite_url] * 3
    else:
        places = [MemoryBackend(writer=request.param == "writer", store=store) for _ in range(3)]
    a, b, of_none = (make_sdk(place, tenant_id=t) for place, t in zip(places, ("a", "b", None), strict=True))
    return a, b, of_none


async def made(sdk: InvestigationSDK) -> str:
    async with sdk.investigation("x", key="k") as investigation, investigation.phase("p"):
        login(f"of {sdk.service._tenant}")
    return investigation.id


SINCE = timedelta(days=1)


async def test_lists_are_of_one_tenant(sdks: SDKs) -> None:
    a, b, of_none = sdks
    ids = [await made(a), await made(b), await made(of_none)]
    for sdk, own in ((a, ids[:1]), (b, ids[1:2]), (of_none, ids)):
        assert sorted(i.id for i in await sdk.list()) == sorted(own)
        calls = await sdk.tools(since=SINCE)
        assert sorted(call.investigation_id for call in calls) == sorted(own)
        found = await sdk.find(key="k")
        assert found is not None
        assert found.id == own[-1]
    assert [call.input_parameters for call in await b.tools(since=SINCE, tool="login")] == [{"secret": "of b"}]


READS: dict[str, Callable[[InvestigationSDK, str], Any]] = {
    "get": lambda sdk, id: sdk.get(id),
    "phases": lambda sdk, id: sdk.phases(id),
    "tools": lambda sdk, id: sdk.tools(id),
    "tools of a phase": lambda sdk, id: sdk.tools(id, phase="p"),
    "events": lambda sdk, id: sdk.events(id),
    "iter_events": lambda sdk, id: anext(aiter(sdk.iter_events(id))),
    "verify": lambda sdk, id: sdk.verify(id),
    "check": lambda sdk, id: sdk.check(id),
    "rebuild": lambda sdk, id: sdk.rebuild(id),
}
COMMANDS: dict[str, Callable[[InvestigationSDK, str], Any]] = {
    "attach": lambda sdk, id: sdk.attach(id).__aenter__(),
    "pause": lambda sdk, id: sdk.service.pause(id),
    "resume": lambda sdk, id: sdk.service.resume(id),
    "cancel": lambda sdk, id: sdk.service.cancel(id),
    "retry": lambda sdk, id: sdk.service.retry(id),
    "transition": lambda sdk, id: sdk.service.transition_state(id, InvestigationState.CANCELLED),
    "report": lambda sdk, id: sdk.service.record_tool_execution(id, None, "a", "t", {}),
    "child": lambda sdk, id: sdk.service.create_investigation("u", "s", "t", parent=id),
    "driven child": lambda sdk, id: sdk.investigation("s", parent=id).__aenter__(),
}


@pytest.mark.parametrize("what", [*READS, *COMMANDS])
async def test_what_is_anothers_is_as_what_is_not_there(sdks: SDKs, what: str) -> None:
    a, b, of_none = sdks
    record = await a.service.create_investigation("u", "s", "t")
    do = {**READS, **COMMANDS}[what]
    with pytest.raises(InvestigationNotFound, match=record.id) as of_another:
        await do(b, record.id)
    nobodys = uuid7()
    with pytest.raises(InvestigationNotFound, match=nobodys) as of_nobody:
        await do(b, nobodys)
    if "child" not in what:
        assert str(of_another.value).replace(record.id, nobodys) == str(of_nobody.value)
    assert (await a.get(record.id)).version == record.version
    assert not list(await b.list())
    if what in READS and what != "iter_events":
        for sdk in (a, of_none):
            await do(sdk, record.id)


async def test_without_a_tenant_commands_reach_all(sdks: SDKs) -> None:
    a, _, of_none = sdks
    record = await a.service.create_investigation("u", "s", "t")
    async with of_none.attach(record.id):
        login("by the operator")
    after = await a.get(record.id)
    assert (after.status, after.tenant_id) == (InvestigationState.COMPLETED, "a")
    assert [call.input_parameters for call in await a.tools(since=SINCE)] == [{"secret": "by the operator"}]
    assert (await a.verify(record.id)).ok
