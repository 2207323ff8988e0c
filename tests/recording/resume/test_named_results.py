"""A result that somebody named is given back as the tool's annotation says that it would have been."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Protocol

import pydantic
import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    computed_field,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict

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


class Typed(TypedDict, total=False):
    amount: int


class Account(BaseModel):
    """All have defaults: nothing but the name of a member says that it was meant."""

    amount: int = 0
    number: str = Field(default="", alias="no")
    owner: str = Field(default="", validation_alias=AliasChoices("holder", AliasPath("person", "name")))
    typed: Typed = {}
    transfer: Transfer | None = None
    inside: "list[Account]" = []
    by_place: "dict[int, Account]" = {}

    @computed_field
    def double(self) -> int:
        return self.amount * 2


class Accounts(RootModel[list[Account]]):
    pass


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    account: Account = Account()


class Rewriting(BaseModel):
    amount: int = 0
    account: Account = Account()

    @model_validator(mode="before")
    @classmethod
    def _of_old(cls, given: Any) -> Any:
        return {**given, "amount": given["sum"]} if "sum" in given else given


@pydantic.dataclasses.dataclass(config=ConfigDict(extra="ignore"))
class Aliased:
    amount: int = Field(default=0, alias="sum")
    account: Account = Field(default_factory=Account)


class HasId(Protocol):
    id: str


class Strange:
    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        raise RuntimeError("no schema")


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
        (HasId, {"id": "x"}, {"id": "x"}),
        (list[Strange], [1], [1]),
        (Iterable[Receipt], [PLAIN], [WHOLE]),
        (Iterable[int], {1, 2}, {1, 2}),
        (Account, Account(amount=1, no="a"), Account(amount=1, no="a")),
        (Account, {"amount": 1, "no": "a", "double": 2}, Account(amount=1, no="a")),
        (Account, {"person": {"name": "b", "age": 3}}, Account.model_validate({"holder": "b"})),
        (Account, {"by_place": {"1": {"amount": 1}}}, Account(by_place={1: Account(amount=1)})),
        (Open, {"other": 1, "account": {"amount": 1}}, Open.model_validate({"other": 1, "account": Account(amount=1)})),
        (Rewriting, {"sum": 1}, Rewriting(amount=1)),
        (Aliased, {"sum": 1}, Aliased(sum=1)),
        (Account | Open | None, {"other": 1}, Open.model_validate({"other": 1})),
        (Account | dict[str, int], {"other": 1}, {"other": 1}),
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
        (Transfer, {"amount": 1, "secret": "hunter2"}, "it is not Transfer: secret: (Unexpected|No field takes)"),
        (list[int], ["a"] * 9, "it is not list[int]: 0: Input should be a valid integer.*; and 6 more"),
        (Iterable[int], ["a"], "it is not collections.abc.Iterable[int]: 0: Input should be a valid integer"),
        (Own, {}, "it is not Own: Input should be an instance of Own"),
        (Careful, {"code": "worse"}, "to make it Careful failed with RuntimeError"),
    ],
)
def test_what_does_not_fit_has_a_reason(hint: Any, named: Any, why: str) -> None:
    fitted = fit(named, hint)
    with pytest.raises(AssertionError, match=why.replace("[", r"\[")):
        raise AssertionError(fitted.reason)
    assert "hunter2" not in fitted.reason


@pytest.mark.parametrize(
    ("hint", "named", "where"),
    [
        (Account, {"amuont": 1}, "amuont"),
        (Account, {"number": "1"}, "number"),
        (Account, {"typed": {"amuont": 1}}, "typed.amuont"),
        (Account, {"transfer": {"amount": 1, "to": 1}}, "transfer.to"),
        (Account, {"inside": [{}, {"inside": [{"amuont": 1}]}]}, "inside.1.inside.0.amuont"),
        (Account, {"by_place": {"1": {"amuont": 1}}}, "by_place.1.amuont"),
        (list[Account | None], [None, {"amuont": 1}], "1.amuont"),
        (dict[str, tuple[Account, int]], {"a": [{"amuont": 1}, 1]}, "a.0.amuont"),
        (Accounts, [{"amuont": 1}], "0.amuont"),
        (Open, {"other": 1, "account": {"amuont": 1}}, "account.amuont"),
        (Rewriting, {"sum": 1, "account": {"amuont": 1}}, "account.amuont"),
        (Aliased, {"smu": 1}, "smu"),
        (Aliased, {"account": {"amuont": 1}}, "account.amuont"),
        (Iterable[Account], [{"amuont": 1}], "0.amuont"),
        (Typed, {"amuont": 1}, "amuont"),
        (Account | Aliased | None, {"amuont": 1}, "amuont"),
    ],
)
def test_a_member_that_no_field_takes_is_not_left_out(hint: Any, named: Any, where: str) -> None:
    reason = fit(named, hint).reason
    assert reason.endswith((f": {where}: No field takes it", f": {where}: Extra inputs are not permitted")), reason


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
