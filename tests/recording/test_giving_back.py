"""Whether a resume can give back what a call returned is known, and said, on the first run."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.recording.giving_back import give_back


@dataclass
class Transfer:
    amount: int


class Receipt(BaseModel):
    transfers: list[Transfer]


RECEIPT = Receipt(transfers=[Transfer(1), Transfer(2)])
LARGE = Receipt(transfers=[Transfer(n) for n in range(600)])


async def warned(sdk: InvestigationSDK, id: str) -> list[str]:
    events = [e.event_data for e in await sdk.events(id, event_type="recorder.warning")]
    return [e["message"] for e in events if e["kind"] == "not_rebuildable"]


async def outputs(sdk: InvestigationSDK, id: str) -> list[Any]:
    return [await sdk.payload(id, call.output_result) for call in await sdk.tools(id)]


async def test_what_an_annotated_tool_returned_is_given_back(sdk: InvestigationSDK) -> None:
    @tool(effect="unsafe")
    def send(n: int) -> Receipt:
        return LARGE if n else RECEIPT

    @tool(effect="unsafe")
    async def asend() -> list[Receipt] | None:
        return [RECEIPT]

    @tool(effect="unsafe")
    def each() -> Generator[Transfer, None, Receipt]:
        yield from RECEIPT.transfers
        return LARGE

    @tool(effect="unsafe")
    async def aeach() -> AsyncIterator[Transfer]:
        for transfer in RECEIPT.transfers:
            yield transfer

    @tool(effect="unsafe")
    def plain(x: object):
        return {"text": [x]}

    async with sdk.investigation("kept") as run:
        send(0)
        send(1)
        await asend()
        list(each())
        assert [item async for item in aeach()] == RECEIPT.transfers
        plain(1)
    assert await warned(sdk, run.id) == []
    recorded = await outputs(sdk, run.id)
    kept = [give_back(fn, one) for fn, one in zip((send, send, asend, each, aeach, plain), recorded, strict=True)]
    assert [one.reason for one in kept] == [""] * 6
    assert [one.value for one in kept] == [
        RECEIPT,
        LARGE,
        [RECEIPT],
        (RECEIPT.transfers, LARGE),
        (RECEIPT.transfers, None),
        {"text": [1]},
    ]


async def test_an_unsafe_tool_whose_result_cannot_be_given_back_is_warned_of(sdk: InvestigationSDK) -> None:
    @tool(effect="unsafe")
    def silent():
        return RECEIPT

    @tool(effect="unsafe")
    def wrong() -> Transfer:
        return RECEIPT  # type: ignore[return-value]

    @tool(effect="unsafe")
    def thing() -> object:
        return object()

    @tool(effect="unsafe", sensitive=["return"])
    def secret() -> str:
        return "hunter2"

    @tool(effect="unsafe")
    def many() -> Iterator[str]:
        for n in range(1000):
            yield f"{n:0100d}"

    @tool(effect="unsafe")
    def items() -> Iterator[Any]:
        yield RECEIPT

    async with sdk.investigation("lost") as run:
        silent()
        wrong()
        thing()
        secret()
        list(many())
        list(items())
    messages = await warned(sdk, run.id)
    assert len(messages) == 6
    for name, message, why in zip(
        ("silent", "wrong", "thing", "secret", "many", "items"),
        messages,
        ("says nothing of a class", "it says .*Transfer", "as its repr", "masked", "of the 1000 items", "says nothing"),
        strict=True,
    ):
        assert message.startswith(f"{name} is unsafe, and what it returned cannot be given back: ")
        assert message.endswith("A resume will pause there.")
        with pytest.raises(AssertionError, match=why):
            raise AssertionError(message)
    (first, *_) = await sdk.tools(run.id)
    (event, *_) = await sdk.events(run.id, event_type="recorder.warning")
    assert (event.event_data["call"], event.event_data["tool"]) == (first.id, "silent")
    assert "hunter2" not in str(await sdk.events(run.id, limit=1000))


@pytest.mark.parametrize("effect", ["read", "idempotent", None])
async def test_others_run_again_so_nobody_is_warned(sdk: InvestigationSDK, effect: Any) -> None:
    @tool(effect=effect)
    def silent():
        return RECEIPT

    async with sdk.investigation("again") as run:
        silent()
    assert await warned(sdk, run.id) == []


class Bank:
    @tool(effect="unsafe")
    def send(self) -> Receipt:
        return RECEIPT

    @staticmethod
    @tool(effect="unsafe")
    def send_static() -> Receipt:
        return RECEIPT

    def __call__(self, n: int) -> Receipt:
        return RECEIPT


async def test_methods_partials_and_callable_objects(sdk: InvestigationSDK) -> None:
    bank = Bank()
    called = tool(effect="unsafe")(bank)
    partial = tool(effect="unsafe")(functools.partial(bank.__call__, 1))
    async with sdk.investigation("callables") as run:
        bank.send()
        Bank.send_static()
        called(1)
        partial()
    assert await warned(sdk, run.id) == []
    for fn, one in zip((Bank.send, Bank.send_static, called, partial), await outputs(sdk, run.id), strict=True):
        assert give_back(fn, one).value == RECEIPT
