"""Payloads that are too large for their event: beside the log, read back exactly, whoever asks."""

import hashlib
import sqlite3
from collections.abc import Callable, Generator
from decimal import Decimal
from typing import Any

import pytest

from investigation_sdk import Durability, InvestigationError, InvestigationSDK, LargePayload, tool
from investigation_sdk.storage.codec import digest, encode
from investigation_sdk.testing import SimulatedCrash, crash_at

MakeSDK = Callable[..., InvestigationSDK]

LARGE = {"rows": [{"n": n, "cost": Decimal(n) / 7, "raw": bytes([n % 256]) * 9} for n in range(900)], "nul": "\0"}
SIZE = len(encode(LARGE).text.encode())


@tool
def echo(value: Any) -> Any:
    return value


@tool
async def aecho(value: Any, note: str = "") -> Any:
    return value


@tool
def gives(value: Any) -> Generator[int, None, Any]:
    yield 1
    return value


def is_large(value: object, of: Any = LARGE) -> bool:
    data = encode(of).text.encode()
    return value == LargePayload(hashlib.sha256(data).hexdigest(), len(data))


async def test_it_comes_back_exactly_wherever_it_was_given(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("large", metadata={"m": LARGE, "small": 1}, configuration={"c": LARGE}) as run:
        assert run.metadata == {"m": LARGE, "small": 1}
        assert run.configuration == {"c": LARGE}
        assert echo(LARGE) is LARGE
        assert await aecho(LARGE, note="with it") is LARGE
        async with run.phase("p", input_data=LARGE) as p:
            p.output_data = LARGE
        await run.checkpoint(LARGE)
        assert run.last_checkpoint == LARGE
        run.record("my.note", {"value": LARGE, "small": 2})
        run.result = LARGE
    record = await sdk.get(run.id)
    assert (record.result, record.metadata, record.configuration) == (LARGE, {"m": LARGE, "small": 1}, {"c": LARGE})
    for call in await sdk.tools(run.id):
        assert is_large(call.input_parameters["value"])
        assert is_large(call.output_result)
        assert (await sdk.payload(run.id, call.input_parameters))["value"] == LARGE
        assert await sdk.payload(call.investigation_id, call.output_result) == LARGE
    assert call.input_parameters["note"] == "with it"
    (phase,) = await sdk.phases(run.id)
    assert is_large(phase.input_data)
    assert await sdk.payload(run.id, phase.output_data) == LARGE
    (note,) = await sdk.events(run.id, event_type="my.note")
    assert note.event_data["small"] == 2
    assert await sdk.payload(run.id, note.event_data) == {"value": LARGE, "small": 2}
    (listed,) = await sdk.list()
    assert is_large(listed.result)
    assert await sdk.payload(run.id, listed.result) == LARGE
    assert not await sdk.events(run.id, event_type="recorder.warning")
    report = await sdk.verify(run.id)
    assert report.problems == []


async def test_what_is_whole_already_is_given_as_it_is(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("small") as run:
        echo(1)
    for value in (1, None, {"a": [1]}, [LARGE], run):
        assert await sdk.payload(run.id, value) is value


async def test_events_stay_small_and_their_chain_covers_what_is_beside_them(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("small log") as run:
        echo(LARGE)
    started, completed = await sdk.events(run.id, event_type=["tool.started", "tool.completed"])
    assert is_large(started.event_data["input"]["value"])
    assert is_large(completed.event_data["output"])
    assert started.event_data["digest"] == digest({"value": LARGE}), "a resume must recognise the call"
    assert SIZE > 100_000
    assert max(len(str(e.event_data)) for e in await sdk.events(run.id)) < 1000


@pytest.mark.parametrize("size", [1_000, 40_000, 300_000, 5_000_000])
async def test_text_of_any_size(sdk: InvestigationSDK, size: int) -> None:
    text = ("aé\U0001f50d\u2028" * size)[:size]
    async with sdk.investigation("sizes") as run:
        assert await aecho(text) == text
        run.result = text
    (call,) = await sdk.tools(run.id)
    assert await sdk.payload(run.id, call.output_result) == text
    assert (await sdk.get(run.id)).result == text
    assert (await sdk.verify(run.id)).ok


async def test_fifty_megabytes(lite: InvestigationSDK) -> None:
    text = "x" * 50_000_000
    async with lite.investigation("very large") as run:
        assert await aecho(text) is text
    (call,) = await lite.tools(run.id)
    assert call.output_result.bytes == 50_000_002
    assert await lite.payload(run.id, call.output_result) == text
    assert (await lite.verify(run.id)).ok


async def test_the_same_document_is_stored_once(sqlite_url: str, lite: InvestigationSDK) -> None:
    async with lite.investigation("once"):
        for n in range(5):
            await aecho(LARGE, note=f"question {n}")
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        (stored,) = connection.execute("SELECT sum(length(data)) FROM investigation_blobs").fetchone()
    connection.close()
    assert stored == SIZE


async def test_many_small_members_that_are_large_together(sdk: InvestigationSDK) -> None:
    many = {f"name {n}": n for n in range(5000)}
    async with sdk.investigation("many", metadata=many) as run:
        run.record("my.note", many)
    assert (await sdk.get(run.id)).metadata == many
    (note,) = await sdk.events(run.id, event_type="my.note")
    assert isinstance(note.event_data[""], LargePayload)
    assert await sdk.payload(run.id, note.event_data) == many


async def test_a_member_without_a_name(sdk: InvestigationSDK) -> None:
    odd = {"": {"": LARGE}}
    async with sdk.investigation("nameless", metadata=odd) as run:
        run.record("my.note", odd)
    assert (await sdk.get(run.id)).metadata == odd
    (note,) = await sdk.events(run.id, event_type="my.note")
    assert await sdk.payload(run.id, note.event_data) == odd


async def test_names_that_json_cannot_have(sdk: InvestigationSDK) -> None:
    odd = {"$type": "blob", "a\0b": LARGE, "\ud800": "x"}

    @tool
    def takes(**more: Any) -> None: ...

    async with sdk.investigation("odd", metadata=odd) as run:
        takes(**odd)
    assert (await sdk.get(run.id)).metadata == odd
    (call,) = await sdk.tools(run.id)
    assert is_large(call.input_parameters["a\0b"])
    assert await sdk.payload(run.id, call.input_parameters) == odd
    assert (await sdk.verify(run.id)).ok


async def test_a_value_that_looks_like_a_reference_is_data(sdk: InvestigationSDK) -> None:
    fake = {"$type": "blob", "bytes": 3, "digest": "0" * 64}
    async with sdk.investigation("fake") as run:
        echo(fake)
        echo(LargePayload("0" * 64, 3))
    first, second = await sdk.tools(run.id)
    assert first.output_result == fake
    assert not isinstance(second.output_result, LargePayload)
    assert (await sdk.verify(run.id)).ok


async def test_masked_values_never_reach_a_blob(sqlite_url: str, lite: InvestigationSDK) -> None:
    @tool(sensitive=["password", "return"])
    def login(password: str, page: str) -> str:
        return password

    @tool(sensitive=True)
    def secret(text: str) -> str:
        return text

    async with lite.investigation("secrets") as run:
        login("hunter2" * 10_000, page="p" * 40_000)
        secret("hunter2" * 10_000)
    assert (await lite.verify(run.id)).ok
    first, second = await lite.tools(run.id)
    assert first.input_parameters["password"].type == "masked"
    assert await lite.payload(run.id, first.input_parameters["page"]) == "p" * 40_000
    assert first.output_result.type == second.output_result.type == "masked"
    await lite.aclose()
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        assert not any("hunter2" in line for line in connection.iterdump())
        found = connection.execute("SELECT count(*) FROM investigation_blobs WHERE instr(data, 'hunter2')").fetchone()
    connection.close()
    assert found == (0,)


async def test_a_generator_s_value(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("generator") as run:
        for _ in gives(LARGE):
            pass
    (call,) = await sdk.tools(run.id)
    assert (call.output_result["items"], is_large(call.output_result["value"])) == ([1], True)
    assert (await sdk.payload(run.id, call.output_result))["value"] == LARGE


async def test_a_reported_call(sdk: InvestigationSDK) -> None:
    record = await sdk.service.create_investigation("u", "reported", "t", {"c": LARGE})
    call = await sdk.service.record_tool_execution(record.id, None, "a", "t", {"x": LARGE}, LARGE)
    assert await sdk.payload(record.id, call.output_result) == LARGE
    (started,) = await sdk.events(record.id, event_type="tool.started")
    assert started.event_data["digest"] == digest({"x": LARGE})
    assert (await sdk.get(record.id)).configuration == {"c": LARGE}


async def test_a_key_that_is_finished_gives_its_whole_result(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("once", key="k") as run:
        run.result = LARGE
    async with sdk.investigation("once", key="k") as again:
        assert again.finished
        assert again.result == LARGE


def test_both_faces(sdk: InvestigationSDK) -> None:
    with sdk.investigation("sync", metadata={"m": LARGE}) as run:
        assert run.metadata["m"] == LARGE
        echo(LARGE)
        run.checkpoint(LARGE)
        assert run.last_checkpoint == LARGE
        with run.phase("p") as p:
            p.output_data = LARGE
        run.result = LARGE
    (call,) = sdk.sync.tools(run.id)
    assert sdk.sync.payload(run.id, call.output_result) == sdk.sync.get(run.id).result == LARGE


@pytest.mark.parametrize("large", [LARGE, "x" * 2000])
async def test_a_later_attempt_has_what_an_earlier_one_left(lite: InvestigationSDK, large: Any) -> None:
    """Also what stands in its event only, as it is too long for a row."""
    with pytest.raises(RuntimeError):
        async with lite.investigation("again") as run:
            async with run.phase("p") as p:
                p.output_data = large
            await run.checkpoint(large)
            raise RuntimeError
    async with lite.attach(run.id) as again:
        assert again.last_checkpoint == large
        async with again.phase("p") as p:
            assert p.completed_before
            assert p.previous_output == large


async def test_batched_ones_wait_for_a_store_that_is_behind(url: str, make_sdk: MakeSDK) -> None:
    sdk = make_sdk(url, durability=Durability.BATCHED)
    text = "x" * 4_000_000
    async with sdk.investigation("batched") as run:
        for n in range(25):
            await aecho(f"{n}{text}")
    assert [call.output_result.bytes for call in await sdk.tools(run.id)] == [len(f'"{n}{text}"') for n in range(25)]
    assert (await sdk.verify(run.id)).ok


async def test_a_crash_leaves_no_reference_without_its_payload(lite: InvestigationSDK, other: InvestigationSDK) -> None:
    with pytest.raises(SimulatedCrash):
        async with lite.investigation("crash") as run:
            with crash_at("tool.completed"):
                await aecho(LARGE)
    async with other.attach(run.id):
        await aecho(LARGE)
    assert (await other.verify(run.id)).ok


# ---- tampering


async def tampered(sdk: InvestigationSDK, url: str, statement: str) -> tuple[str, list[tuple[int | None, str]], str]:
    async with sdk.investigation("tampered") as run:
        await aecho("first " + "x" * 600_000)
        await aecho("second " + "x" * 600_000)
    assert (await sdk.verify(run.id)).ok
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()
    report = await sdk.verify(run.id)
    assert not report.ok
    return run.id, [(p.sequence, p.kind) for p in report.problems], report.problems[0].message


SECOND = (
    "digest IN (SELECT digest FROM investigation_blobs WHERE position = 0 AND substr(data, 2, 6) = x'7365636f6e64')"
)
_MORE = "INSERT INTO investigation_blobs SELECT investigation_id, digest, 3, 'more' FROM investigation_blobs"
TAMPERING = {
    "a byte": ("UPDATE investigation_blobs SET data = 'X' || substr(data, 2) WHERE position = 1", "was changed"),
    "a piece gone": ("DELETE FROM investigation_blobs WHERE position = 2", "was changed"),
    "a hole": ("DELETE FROM investigation_blobs WHERE position = 1", "was changed"),
    "the beginning gone": ("DELETE FROM investigation_blobs WHERE position = 0", "is missing"),
    "all gone": ("DELETE FROM investigation_blobs WHERE 1", "is missing"),
    "a piece more": (f"{_MORE} WHERE position = 0", "was changed"),
    "a piece as text": ("UPDATE investigation_blobs SET data = 'text' WHERE position = 1", "was changed"),
    "a piece as a number": ("UPDATE investigation_blobs SET data = 7 WHERE position = 1", "was changed"),
}


@pytest.mark.parametrize("how", TAMPERING)
async def test_verify_names_the_events_whose_payload_was_tampered_with(
    sqlite_url: str, lite: InvestigationSDK, how: str
) -> None:
    statement, message = TAMPERING[how]
    id, problems, said = await tampered(lite, sqlite_url, f"{statement} AND {SECOND}")
    calls = [e.sequence for e in await lite.events(id, event_type=["tool.started", "tool.completed"])]
    assert problems == [(calls[2], "blob"), (calls[3], "blob")]
    assert message in said
    assert "tool.started" in said
    first, second = await lite.tools(id)
    assert (await lite.payload(id, first.output_result)).startswith("first")
    with pytest.raises(InvestigationError, match=rf"sdk\.verify\('{id}'\)"):
        await lite.payload(id, second.output_result)
