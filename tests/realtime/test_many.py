"""Who follows many, for long: what is over leaves nothing, and whoever comes again needs no long URL."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from investigation_sdk import InvestigationSDK, InvestigationWebSocketManager
from investigation_sdk.realtime import clients
from investigation_sdk.realtime.clients import Client
from investigation_sdk.realtime.hints import Hint
from investigation_sdk.storage.commit import Query

from .many import GIL, Socket, following, looked_at_often, one
from .waiting import LONG, until


@pytest.fixture
def sdk(make_sdk: Callable[..., InvestigationSDK], monkeypatch: pytest.MonkeyPatch) -> InvestigationSDK:
    return looked_at_often(make_sdk, monkeypatch)


def places(client: Client) -> list[int]:
    """How much is kept of single investigations."""
    return [len(kept) for kept in (client.cursors, client.sent, client._ended, client._over, client._failed)]


async def test_what_is_over_leaves_nothing(sdk: InvestigationSDK) -> None:
    socket = Socket()
    rooms = InvestigationWebSocketManager(sdk, heartbeat=timedelta(hours=1))
    async with following(sdk, socket, rooms) as client:
        for _ in range(6):
            ids = await asyncio.gather(*(one(sdk) for _ in range(25)))
            await until(lambda ids=ids: all(socket.of(id) for id in ids), "they are seen")  # type: ignore[misc]
        await until(lambda: not any(places(client)), f"all of it is forgotten: {places(client)}")
        (watch,) = rooms._watching
        assert watch.records == {}
        assert any(message["type"] == "stream.cursors" for message in socket.messages), "it is told that it may, too"
        assert len(socket.cursors) < 120, "of 150"
    for id in {id for id, _ in socket.got}:
        assert socket.of(id) == list(range(1, (await sdk.get(id)).version + 1))


async def test_who_comes_again_by_what_it_was_told_gets_what_it_missed(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_FORGOTTEN", 3)
    socket, socket_again = Socket(), Socket()
    async with following(sdk, socket):
        failed = await one(sdk, fails=True)
        before = [await one(sdk) for _ in range(8)]
        open_ = (await sdk.service.create_investigation("gil", "account 7", "general", queue=False)).id
        await until(lambda: "since" in socket.cursors and bool(socket.of(open_)), "it is told from where to go on")
        await until(lambda: len(socket.of(failed)) == socket.cursors[failed], "it has all of what failed")
    assert failed in socket.cursors, "it may go on"
    assert open_ in socket.cursors
    missed = await one(sdk)
    async with sdk.attach(open_) as run:
        run.record("fraud.sign", {})
    await sdk.service.retry(failed)
    socket_again.got, socket_again.cursors = socket.got, socket.cursors
    socket_again.say(json.dumps(socket.cursors))
    async with following(sdk, socket_again, after="message"):
        late = await one(sdk)
        await until(lambda: all(socket_again.of(id) for id in (missed, late)), "what it missed, and what comes")
        for id in (failed, *before, open_, missed, late):
            version = (await sdk.get(id)).version
            await until(lambda id=id, v=version: len(socket_again.of(id)) >= v, "all of it")  # type: ignore[misc]
    for id in (failed, *before, open_, missed, late):
        assert socket_again.of(id) == list(range(1, (await sdk.get(id)).version + 1)), "each once"


async def test_one_that_failed_long_ago_goes_on_where_it_was_taken_up(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not remembered any more, and gives nothing twice."""
    monkeypatch.setattr(clients, "MOST_FAILED", 1)
    socket = Socket()
    async with following(sdk, socket) as client:
        old = await one(sdk, fails=True)
        new = await one(sdk, fails=True)
        await until(lambda: list(client.sent) == [new], "the older one is forgotten")
        assert list(client._failed) == [new]
        await sdk.service.retry(old)
        await sdk.service.retry(new)
        for id in (old, new):
            version = (await sdk.get(id)).version
            await until(lambda id=id, v=version: socket.of(id)[-1] == v, "it goes on")  # type: ignore[misc]
            assert socket.of(id) == list(range(1, version + 1))


@pytest.mark.parametrize("said", ["{", "[]", '{"x": 1}', None], ids=["no JSON", "a list", "no id", "bytes"])
async def test_cursors_in_a_message_that_are_none(sdk: InvestigationSDK, said: str | None) -> None:
    socket = Socket()
    if said is None:
        socket._says.put_nowait(None)  # type: ignore[arg-type]
    else:
        socket.say(said)
    async with asyncio.timeout(LONG):
        await InvestigationWebSocketManager(sdk).serve_many(socket, principal=GIL, after="message")
    assert socket.closed is not None
    assert socket.closed[0] == 4400
    assert ("first message" in str(socket.closed[1])) == (said is None)


async def test_cursors_of_thousands_fit_into_a_message(sdk: InvestigationSDK) -> None:
    first = await one(sdk)
    version = (await sdk.get(first)).version
    many = {f"00000000-0000-7000-8000-{number:012x}": 7 for number in range(5000)}
    socket = Socket()
    socket.say(json.dumps({**many, first: version - 1}))
    async with following(sdk, socket, after="message") as client:
        await until(lambda: socket.of(first) == [version], "it goes on from its cursor")
        assert set(client.sent) <= {first}, "what is not there is not kept"


async def test_a_commit_costs_one_question_however_many_follow(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All clients of a type together, and none where nobody follows it."""
    rooms = InvestigationWebSocketManager(sdk, heartbeat=timedelta(hours=1))
    sdk._hub.poll_seconds = 3600.0  # nothing but hints
    sockets = [Socket() for _ in range(20)]
    async with contextlib.AsyncExitStack() as stack:
        for socket in sockets:
            await stack.enter_async_context(following(sdk, socket, rooms, investigation_type="fraud"))
        finding = next(iter(rooms._rooms.values())).directory
        await until(lambda: [len(group.members) for group in finding._groups.values()] == [20], "all are together")
        asked: list[Query] = []
        find = sdk._recorder.backend.find

        async def counted(query: Query) -> Any:
            asked.append(query)
            return await find(query)

        monkeypatch.setattr(sdk._recorder.backend, "find", counted)
        others = [await one(sdk, investigation_type="other") for _ in range(3)]
        assert len(asked) <= 2 * len(others), "one to know that nobody follows it; a hint may come while it is asked"
        del asked[:]
        for other in others:
            sdk._hub.soon(sdk._hub.heard, Hint(other, 1000))
        followed = await one(sdk, investigation_type="fraud")
        await until(lambda: all(socket.of(followed) for socket in sockets), "they see it")
        assert not any(other in str(query.where) for query in asked for other in others), "nobody is asked again"
        assert sum(followed in str(query.where) and len(query.where) == 1 for query in asked) <= 4, asked
