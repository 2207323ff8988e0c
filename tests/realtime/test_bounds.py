"""What waits for a broker or a cache that does not answer is bounded: nothing grows with what is recorded meanwhile."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from investigation_sdk import InvestigationSDK
from investigation_sdk.realtime import listening, redis_cache
from investigation_sdk.realtime.brokers import BrokerLost, Heard
from investigation_sdk.realtime.hints import Hint, read
from investigation_sdk.realtime.listening import Listening
from investigation_sdk.testing.proxy import FaultProxy
from investigation_sdk.testing.servers import RedisServer

from .waiting import until


class Away:
    """A broker that is lost, until it is found."""

    name = "away"
    eager = False

    def __init__(self) -> None:
        self.there = False
        self.told: list[Hint] = []

    async def publish(self, messages: Sequence[str]) -> None:
        if not self.there:
            raise BrokerLost("it is away")
        self.told += [hint for message in messages if (hint := read(message)) is not None]

    async def listen(self, heard: Heard, connected: Callable[[], object]) -> None:
        raise BrokerLost("it is away")

    async def close(self) -> None: ...


async def test_hints_that_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each investigation, one waits; of all of them, so many. The oldest go first: others find them in the store."""
    monkeypatch.setattr(listening, "_MAX_WAITING", 100)
    broker = Away()
    speaking = Listening(broker, lambda _: None, lambda: None)
    for sequence in range(1, 11):
        for name in range(150):
            speaking.send(Hint(f"i-{name}", sequence))
    assert len(speaking._waiting) == 100
    sending = asyncio.create_task(speaking.send_all())
    broker.there = True
    await until(lambda: len(broker.told) >= 100, "what waits is said")
    sending.cancel()
    assert broker.told == [Hint(f"i-{name}", 10) for name in range(50, 150)]


async def test_what_is_to_be_kept_while_redis_does_not_answer(
    redis_server: RedisServer,
    sqlite_url: str,
    make_sdk: Callable[..., InvestigationSDK],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_cache, "ANSWER_SECONDS", 30.0)
    monkeypatch.setattr(redis_cache, "_WAITING", 20)
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        sdk = make_sdk(sqlite_url, redis=f"redis://127.0.0.1:{proxy.port}/8")
        cache = sdk._cache
        assert cache is not None
        await sdk._recorder.acall(cache.now())
        proxy.black_hole()
        for number in range(500):
            cache.keep(f"investigation:result:bounds:{number}", "x", 60)

        async def under_way() -> int:
            return sum("_keep" in repr(task.get_coro()) for task in asyncio.all_tasks())

        assert 1 <= await sdk._recorder.acall(under_way()) <= 20
        proxy.restore()
        proxy.cut_all()
