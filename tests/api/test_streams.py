"""Server-sent events of the mounted API, and its readiness."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from investigation_sdk import InvestigationSDK
from investigation_sdk.api import create_app
from investigation_sdk.realtime import streaming
from investigation_sdk.realtime.clients import TOO_SLOW
from investigation_sdk.testing.proxy import FaultProxy
from investigation_sdk.testing.servers import RedisServer
from tests.realtime.waiting import until

from .mounted import HOUR, LONG, Service

pytestmark = pytest.mark.timeout(180)


async def test_server_sent_events_end_for_who_loses_a_role(service: Service) -> None:
    id = await service.new()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(f"GET /fraud/investigation/{id}/events/stream?user=gil HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    async with asyncio.timeout(LONG):
        await reader.readuntil(b"stream.caught_up")
        del service.users["gil"]
        service.roles_changed()
        await service.sdk.service.cancel(id)
        rest = (await reader.read()).decode()
    writer.close()
    assert "investigation.cancelled" not in rest
    assert json.loads(rest.split("event: stream.end\ndata: ")[1])["code"] == 4403


async def test_server_sent_events_are_refused_before_they_begin(
    sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]
) -> None:
    """By the application's own rule, which is asked after the table of roles."""
    options = {"authorise": lambda user, _: user.id == "gil", "heartbeat": HOUR}
    with Service(make_sdk(sqlite_url), **options).up() as service:
        id = await service.new()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}/fraud", timeout=LONG) as client:
            refused = await client.get(f"/investigation/{id}/events/stream?user=vera")
            assert (refused.status_code, refused.json()["error"]) == (403, "AccessDenied")
            assert "'vera' may not watch" in refused.json()["detail"]
            beyond = await client.get(f"/investigation/{id}/events/stream?user=gil&after=99")
            assert (beyond.status_code, beyond.json()["error"]) == (422, "InvalidArgument")
            assert "from 0 to 1" in beyond.json()["detail"]


@pytest.mark.parametrize("in_time", [True, False], ids=["in time", "never"])
async def test_who_does_not_take_server_sent_events_is_told_and_dropped(
    sqlite_url: str, make_sdk: Callable[..., InvestigationSDK], monkeypatch: pytest.MonkeyPatch, in_time: bool
) -> None:
    """A real socket is not read: the server's buffer fills, and its sender waits."""
    monkeypatch.setattr(streaming, "LAST_SECONDS", 3 * LONG if in_time else 0.2)
    with Service(make_sdk(sqlite_url), heartbeat=HOUR, max_queue=20).up() as service:
        id = await service.new()
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=2**16)
        writer.write(f"GET /fraud/investigation/{id}/events/stream?user=gil HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(LONG):
            await reader.readuntil(b"stream.caught_up")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        (watch,) = service.rooms._watching

        def work() -> None:
            with service.sdk.attach(id) as run:
                for number in range(900):
                    run.record("fraud.sign", {"number": number, "filler": "x" * 20_000})
                    if number % 50 == 0:
                        service.sdk.sync.flush(LONG)

        await asyncio.to_thread(work)
        await until(lambda: watch.client.closing == TOO_SLOW, "it is too slow")

        def waits() -> bool:
            return any("EventStream" in repr(task.get_coro()) for task in asyncio.all_tasks(service.loop))

        if not in_time:
            await until(lambda: not waits(), "nothing waits for it")
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(LONG):
            rest = (await reader.read()).decode()
        await until(lambda: not waits(), "nothing waits for it")
        assert "event: fraud.sign" in rest
        assert ("event: resync_required" in rest) == ('"code": 4408' in rest) == in_time
        writer.close()


async def test_deafness_shows_in_readiness(
    sqlite_url: str, redis_server: RedisServer, make_sdk: Callable[..., InvestigationSDK]
) -> None:
    with (
        FaultProxy("127.0.0.1", redis_server.port) as proxy,
        Service(make_sdk(sqlite_url, redis=f"redis://127.0.0.1:{proxy.port}/9"), heartbeat=HOUR).up() as service,
    ):

        async def ready() -> dict[str, Any]:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}/fraud", timeout=LONG) as client:
                answer = await client.get("/ready")
                found: dict[str, Any] = answer.json()
                assert answer.status_code == 200 or found["deaf"] == "it is not connected yet", "it still serves"
                return found

        async def hears() -> bool:
            return await ready() == {"status": "ok", "hearing": "redis", "deaf": None}

        async def is_deaf() -> bool:
            return "Redis at 127.0.0.1" in ((await ready())["deaf"] or "")

        async with service.joined("investigations/ws?user=vera"):
            await until(hears, "it hears")
            proxy.refuse()
            proxy.cut_all()
            await until(is_deaf, "it says that it is deaf")
            proxy.restore()
            await until(hears, "it hears again")


async def test_it_is_not_ready_before_its_subscription_is_confirmed(
    sqlite_url: str, redis_server: RedisServer, make_sdk: Callable[..., InvestigationSDK]
) -> None:
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        proxy.black_hole()
        sdk = make_sdk(sqlite_url, redis=f"redis://127.0.0.1:{proxy.port}/9")
        transport = httpx.ASGITransport(app=create_app(sdk, allow_anonymous=True))
        async with httpx.AsyncClient(transport=transport, base_url="http://x", timeout=LONG) as client:
            answer = await client.get("/ready")
            assert (answer.status_code, answer.json()) == (
                503,
                {"status": "it does not hear yet", "hearing": "redis", "deaf": "it is not connected yet"},
            )

            async def heard() -> bool:
                return bool((await client.get("/ready")).json()["deaf"] is None)

            proxy.restore()
            proxy.cut_all()
            await until(heard, "it hears")
            assert (await client.get("/ready")).status_code == 200
