"""A result that somebody named is given back as the tool's annotation says that it would have been."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from investigation_sdk import InvalidArgument, InvestigationSDK, Resolution, ToolState, UnknownOutcome, tool
from investigation_sdk.recording.fitting import fit
from investigation_sdk.recording.known import misfit
from tests.recording.resume.agents import crashing, resumed


class Side(Enum):
    LEFT = "left"


@dataclass
class Transfer:
    amount: int


class Receipt(BaseModel):
    transfers: list[Transfer]
    at: datetime | None = None


class Own:
    """Of which nobody knows the fields."""


class Careful(BaseModel):
    code: str

    @field_validator("code")
    @classmethod
    def _check(cls, code: str) -> str:
        if code == "worse":
            raise RuntimeError("broken")
        return code


AT = datetime(2026, 1, 2, tzinfo=UTC)
PLAIN = {"transfers": [{"amount": 1}], "at": "2026-01-02T00:00:00Z"}
WHOLE = Receipt(transfers=[Transfer(1)], at=AT)


@pytest.mark.parametrize(
    ("hint", "named", "given"),
    [
        (Receipt, PLAIN, WHOLE),
        (Receipt, WHOLE, WHOLE),
        (dict[str, list[Receipt]], {"a": [PLAIN]}, {"a": [WHOLE]}),
        (Transfer | None, None, None),
        (Transfer | None, {"amount": 2}, Transfer(2)),
        (Decimal, "1.10", Decimal("1.10")),
        (tuple[int, str], [1, "a"], (1, "a")),
        (Side, "left", Side.LEFT),
        (bool, True, True),
        (Any, PLAIN, PLAIN),
        (object, PLAIN, PLAIN),
        (None, PLAIN, PLAIN),
        (type(None), PLAIN, PLAIN),
        ("Nowhere", 1, 1),
        (list["Nowhere"], [1], [1]),  # type: ignore[name-defined]  # noqa: F821
    ],
)
def test_it_is_made_what_the_annotation_says(hint: Any, named: Any, given: Any) -> None:
    fitted = fit(named, hint)
    assert (fitted.reason, fitted.value, type(fitted.value)) == ("", given, type(given))


@pytest.mark.parametrize(
    ("hint", "named", "why"),
    [
        (Receipt, {"at": None}, "it is not Receipt: transfers: Field required"),
        (Receipt, {"transfers": [{"amount": "much"}]}, "it is not Receipt: transfers.0.amount: Input should be a"),
        (Receipt, None, "it is not Receipt: Input should be a valid dictionary"),
        (Transfer, {"amount": 1, "secret": "hunter2"}, "it is not Transfer: secret: Unexpected keyword argument"),
        (list[int], ["a"] * 9, "it is not list[int]: 0: Input should be a valid integer.*; and 6 more"),
        (Own, {}, "it is not Own: Input should be an instance of Own"),
        (Careful, {"code": "worse"}, "to make it Careful failed with RuntimeError"),
    ],
)
def test_what_does_not_fit_has_a_reason(hint: Any, named: Any, why: str) -> None:
    fitted = fit(named, hint)
    with pytest.raises(AssertionError, match=why.replace("[", r"\[")):
        raise AssertionError(fitted.reason)
    assert "hunter2" not in fitted.reason


def paying(name: str, answer: object = None) -> Callable[[], Any]:
    """A tool that this process knows only while somebody holds it."""

    def reconcile() -> Resolution:
        return Resolution(outcome="succeeded", result=answer)

    @tool(name=name, effect="unsafe", reconcile=None if answer is None else reconcile)
    def pay() -> Receipt:
        raise AssertionError("must not run again")

    return pay


async def test_what_somebody_named(sdk: InvestigationSDK) -> None:
    pay = paying("pay_named")
    id = await crashing(sdk, pay, point="tool.failed")
    with pytest.raises(UnknownOutcome) as unknown:
        await resumed(sdk, pay)
    call = unknown.value.call_id
    with pytest.raises(InvalidArgument, match="'pay_named' cannot have returned that: it is not Receipt: transfers"):
        await sdk.service.resolve(call, Resolution(outcome="succeeded", result={"sum": 1}))
    [row] = await sdk.tools(id)
    assert row.status is ToolState.UNKNOWN
    await sdk.service.resolve(call, Resolution(outcome="succeeded", result=PLAIN))
    await sdk.service.resume(id)
    assert await resumed(sdk, pay) == WHOLE
    [row] = await sdk.tools(id)
    assert json.loads(json.dumps(row.output_result)) == PLAIN, "the record has what was said"


async def test_where_the_tool_is_not_known_the_resume_tells(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await crashing(sdk, paying("pay_elsewhere"), point="tool.failed")
    with pytest.raises(UnknownOutcome) as unknown:
        await resumed(sdk, paying("pay_elsewhere"))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sdk.service, "_misfit", lambda *_: "")
        await sdk.service.resolve(unknown.value.call_id, Resolution(outcome="succeeded", result={"sum": 1}))
    await sdk.service.resume(id)
    pay = paying("pay_elsewhere")
    why = r"was resolved with a result that cannot be given back\. The reason: it is not Receipt: transfers"
    with pytest.raises(UnknownOutcome, match=why) as again:
        await resumed(sdk, pay)
    assert f"sdk.service.resolve({again.value.call_id!r}" in str(again.value)
    await sdk.service.resolve(again.value.call_id, Resolution(outcome="succeeded", result=WHOLE))
    await sdk.service.resume(id)
    assert await resumed(sdk, pay) == WHOLE


async def test_what_reconcile_found_out(sdk: InvestigationSDK) -> None:
    id = await crashing(sdk, paying("pay_found", "nothing of the kind"), point="tool.failed")
    why = "reconcile= failed: TypeError: its result cannot be given back: it is not Receipt"
    with pytest.raises(UnknownOutcome, match=why):
        await resumed(sdk, paying("pay_found", "nothing of the kind"))
    assert not list(await sdk.events(id, event_type="tool.resolved"))
    await sdk.service.resume(id)
    assert await resumed(sdk, paying("pay_found", PLAIN)) == WHOLE


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_items_of_a_generator(sdk: InvestigationSDK, *, asynchronous: bool) -> None:
    @tool(effect="unsafe")
    def each() -> Iterator[Transfer]:
        yield Transfer(0)
        raise OSError("line dropped")

    @tool(effect="unsafe", name="each")
    async def aeach() -> AsyncIterator[Transfer]:
        yield Transfer(0)
        raise OSError("line dropped")

    async def agent() -> list[Transfer]:
        return [one async for one in aeach()] if asynchronous else list(each())

    with pytest.raises(OSError, match="line dropped"):
        async with sdk.investigation("s", key="k") as run:
            await agent()
    with pytest.raises(UnknownOutcome) as unknown:
        await resumed(sdk, agent)
    for wrong in ({"amount": 1}, [{"sum": 1}], None):
        with pytest.raises(InvalidArgument, match="cannot have returned that"):
            await sdk.service.resolve(unknown.value.call_id, Resolution(outcome="succeeded", result=wrong))
    named = Resolution(outcome="succeeded", result=[{"amount": 1}, Transfer(2)])
    await sdk.service.resolve(unknown.value.call_id, named)
    await sdk.service.resume(run.id)
    assert await resumed(sdk, agent) == [Transfer(1), Transfer(2)]


def test_what_fits_one_tool_of_a_name_fits() -> None:
    one = paying("one_of_two")

    @tool(name="one_of_two")
    def other() -> int:
        return 1

    assert misfit("one_of_two", None, 1) == "", "which of the two it was, nobody knows"
    assert misfit("one_of_two", None, PLAIN) == ""
    assert "it is not" in misfit("one_of_two", None, "text")
    assert misfit("one_of_two", "another version", "text") == ""
    del one, other  # held until here
