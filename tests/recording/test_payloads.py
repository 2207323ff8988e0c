"""What cannot be recorded as it is: noted, never in the way."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.storage.codec import Tagged


class Custom:
    """A class of the user's."""


async def warnings(sdk: InvestigationSDK, id: str) -> list[dict[str, Any]]:
    return [e.event_data for e in await sdk.events(id, event_type="recorder.warning")]


async def test_a_payload_that_is_too_large_gives_way_and_the_caller_gets_its_value(
    url: str, make_sdk: Callable[..., InvestigationSDK], most: int
) -> None:
    sdk = make_sdk(url, max_inline_bytes=2048)

    @tool
    def big(text: str, n: int = 1) -> str:
        return text * 2

    @tool
    async def abig(text: str) -> str:
        return text * 2

    async with sdk.investigation("large") as investigation:
        assert big("x" * most) == "xx" * most
        assert await abig("y" * most) == "yy" * most
        assert big("z") == "zz"
    first, second, third = await sdk.tools(investigation.id)
    for call in (first, second):
        assert call.input_parameters["text"] == Tagged("too_large", "", {"limit": most})
        assert call.output_result == Tagged("too_large", "", {"limit": most})
    assert first.input_parameters["n"] == 1
    assert (third.input_parameters, third.output_result) == ({"text": "z", "n": 1}, "zz")
    found = [w for w in await warnings(sdk, investigation.id) if "36,000 bytes are the most" in w["message"]]
    assert [(w["kind"], w["tool"]) for w in found] == [
        ("input", "big"),
        ("output", "big"),
        ("input", "abig"),
        ("output", "abig"),
    ]
    assert found[0]["call"] == first.id
    (compared, _) = [w for w in await warnings(sdk, investigation.id) if w not in found]
    assert "a resume will not recognise this call" in compared["message"]
    assert max(len(str(e.event_data)) for e in await sdk.events(investigation.id)) < 2048


async def test_values_that_are_not_json_are_kept_or_warned_of_wherever_they_are(sdk: InvestigationSDK) -> None:
    kept = {"at": Decimal("1.10"), "raw": b"\0\xff", "set": {1}, "nan": [float("inf")], 1: (2, 3)}

    @tool
    def takes(value: object) -> object:
        return value

    async with sdk.investigation("kept", metadata={"d": Decimal(1)}) as investigation:
        assert takes(kept) is kept
        async with investigation.phase("p", input_data=kept) as p:
            p.output_data = kept
        await investigation.checkpoint(kept)
        assert investigation.last_checkpoint == kept
        investigation.record("my.note", {"value": kept})
        investigation.result = kept
    assert await warnings(sdk, investigation.id) == []
    assert (await sdk.get(investigation.id)).result == kept
    (call,) = await sdk.tools(investigation.id)
    assert call.input_parameters == {"value": kept}
    assert call.output_result == kept
    (found,) = await sdk.phases(investigation.id)
    assert (found.input_data, found.output_data) == (kept, kept)


async def test_user_objects_are_warned_of_wherever_they_are(sdk: InvestigationSDK) -> None:
    @tool
    def takes(value: object) -> object:
        return value

    async with sdk.investigation("lost", metadata={"m": Custom()}, configuration={"c": Custom()}) as investigation:
        takes(Custom())
        async with investigation.phase("p", input_data=Custom()) as p:
            p.output_data = Custom()
        await investigation.checkpoint(Custom())
        investigation.record("my.note", {"value": Custom()})
        investigation.result = Custom()
    kinds = [w["kind"] for w in await warnings(sdk, investigation.id)]
    assert kinds == ["creation", "creation", "input", "output", "input", "output", "checkpoint", "data", "result"]
    assert all("Custom" in w["message"] for w in await warnings(sdk, investigation.id))
    assert (await sdk.get(investigation.id)).status == "completed"
    assert (await sdk.verify(investigation.id)).ok


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\u2028", "x" * 2000, "\U0001f50d"])
async def test_any_text_comes_back(sdk: InvestigationSDK, text: str) -> None:
    @tool(summary=lambda r: r)
    def takes(text: str) -> str:
        return text

    async with sdk.investigation(f"subject {text}", key=f"key {text}"[:200], metadata={"t": text}) as investigation:
        assert takes(text) == text
        investigation.skip_phase(f"phase {text}", text)
        investigation.result = text
    (call,) = await sdk.tools(investigation.id)
    assert (call.input_parameters, call.output_result) == ({"text": text}, text)
    record = await sdk.get(investigation.id)
    assert (record.result, record.metadata) == (text, {"t": text})
    visible = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    assert (record.status, record.subject) == ("completed", f"subject {visible}")
    assert call.result_summary == visible
    assert [p.phase_name for p in await sdk.phases(investigation.id)] == [f"phase {visible}"]
    found = await sdk.find(key=f"key {text}"[:200])
    assert found is not None
    assert found.id == investigation.id
    assert (await sdk.verify(investigation.id)).ok


async def test_mutating_an_argument_later_changes_nothing_recorded(sdk: InvestigationSDK) -> None:
    @tool
    def appends(rows: list[int]) -> list[int]:
        rows.append(2)
        return rows

    rows = [1]
    async with sdk.investigation("mutable") as investigation:
        appends(rows).append(3)
    (call,) = await sdk.tools(investigation.id)
    assert (call.input_parameters, call.output_result) == ({"rows": [1]}, [1, 2])


@pytest.mark.parametrize(
    ("event_type", "message"),
    [
        ("tool.mine", "reserved"),
        ("investigation.x", "reserved"),
        ("state.x", "reserved"),
        ("recorder.x", "reserved"),
        ("", "cannot be an event type"),
        ("with space", "cannot be an event type"),
        ("x" * 101, "cannot be an event type"),
    ],
)
async def test_types_of_own_events_are_checked(event_type: str, message: str) -> None:
    async with InvestigationSDK("memory://") as sdk, sdk.investigation("types") as investigation:
        with pytest.raises(ValueError, match=message):
            investigation.record(event_type)
        investigation.record("fraud.hypothesis", {"text": "SIM swap"})
        investigation.record("plain")
        assert await sdk.flush() == 0
        found = await sdk.events(investigation.id, event_type=["fraud.hypothesis", "plain"])
        assert [e.event_data for e in found] == [{"text": "SIM swap"}, {}]
