"""What a tool was given as sensitive is quoted by no recorded exception: not the tool's, nor those it leads to."""

import base64
import copy
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import BaseModel, SecretStr

from investigation_sdk import InvestigationSDK, phase, tool
from investigation_sdk.recording.confidential import EVERYTHING, confidential

SECRET = "correct horse/battery staple"  # noqa: S105
NUMBER = 4929_1234_5678_9012


@dataclass
class Card:
    number: int
    holder: str


class Login(BaseModel):
    user: str
    password: SecretStr


class Slotted:
    __slots__ = ("token",)

    def __init__(self, token: str) -> None:
        self.token = token


def whole_record(sdk: InvestigationSDK, id: str) -> str:
    """The log, and all rows: as the reading side gives them."""
    events = [e.event_data for e in sdk.sync.iter_events(id)]
    rows: list[BaseModel] = [sdk.sync.get(id), *sdk.sync.phases(id), *sdk.sync.tools(id)]
    return json.dumps([events, [row.model_dump() for row in rows]], default=repr)


Say = Callable[[Any], str]
"""Makes the text of an exception from the sensitive value."""


def fails(value: Any, say: Say) -> Callable[[], Any]:
    @tool(sensitive=["secret"])
    def login(user: str, secret: Any) -> None:
        raise PermissionError(say(secret))

    return lambda: login("gil", value)


@pytest.mark.parametrize(
    ("value", "say", "leaks"),
    [
        (SECRET, str, SECRET),
        (SECRET, lambda s: f"401 for {s.upper()!r}", SECRET.upper()),
        (SECRET, lambda s: f"input_value='{s[:12]}...{s[-8:]}'", SECRET[:12]),
        (SECRET, lambda s: "GET /login?p=" + quote(s, safe=""), quote(SECRET, safe="")),
        (SECRET, lambda s: "Basic " + base64.b64encode(f"gil:{s}".encode()).decode(), "Basic"),
        (SECRET, lambda s: s.encode().hex(), SECRET.encode().hex()),
        ({"password": SECRET}, lambda s: f"bad {s}", SECRET),
        ([[{"tokens": (SECRET,)}]], lambda s: s[0][0]["tokens"][0], SECRET),
        ({SECRET: 1000_0000}, lambda s: next(iter(s)), SECRET),
        (SECRET.encode(), lambda s: f"not base64: {s!r}", SECRET),
        (b"\xff\x00\xfe\x01\xfd", repr, r"\\xff\\x00"),
        (NUMBER, lambda s: f"card {s} is blocked", str(NUMBER)),
        (Card(NUMBER, "Gil"), repr, str(NUMBER)),
        (Login(user="gil", password=SecretStr(SECRET)), lambda s: s.password.get_secret_value(), SECRET),
        (Slotted(SECRET), lambda s: s.token, SECRET),
        (SimpleNamespace(deep=SimpleNamespace(token=SECRET)), lambda s: s.deep.token, SECRET),
        (uuid.UUID(int=7), lambda s: f"no session {s}", "0000-0000"),
        ("1234", lambda s: f"PIN {s} is wrong", "PIN"),
        ("1234", lambda s: "PIN 12-34 is wrong", "PIN"),
        (7, lambda s: f"score {s}", "score"),
        (True, lambda s: f"flag is {s}", "flag is"),
        (["x" * 20] * 5_000 + [SECRET], lambda s: s[-1], SECRET),
    ],
)
def test_an_exception_does_not_quote_a_sensitive_argument(
    sdk: InvestigationSDK, value: Any, say: Say, leaks: str
) -> None:
    with pytest.raises(PermissionError) as raised, sdk.investigation("secrets") as investigation, phase("logging in"):
        fails(value, say)()
    assert str(raised.value) == say(value), "the exception itself is not changed"
    record = whole_record(sdk, investigation.id)
    assert leaks not in record
    (failed,) = sdk.sync.events(investigation.id, event_type="tool.failed")
    error = failed.event_data["error"]
    assert (error["type"], error["message"]) == ("PermissionError", "(masked)")
    assert "test_confidential.py" in error["traceback"]
    assert "in login" in error["traceback"]
    (row,) = sdk.sync.phases(investigation.id)
    assert row.error_details is not None
    assert row.error_details["message"] == "(masked)"
    assert "in test_an_exception" in row.error_details["traceback"], "the phase was left further out"


@pytest.mark.parametrize("value", [SECRET, None, "", {"password": SECRET}, Card(NUMBER, "Gil Sauer")])
def test_an_exception_that_quotes_nothing_is_recorded_whole(sdk: InvestigationSDK, value: Any) -> None:
    with pytest.raises(PermissionError), sdk.investigation("secrets") as investigation:
        fails(value, lambda s: "503 gone")()
    (failed,) = sdk.sync.events(investigation.id, event_type="tool.failed")
    assert failed.event_data["error"]["message"] == "503 gone"
    assert "raise PermissionError(say(secret))" in failed.event_data["error"]["traceback"]


def wrapped(login: Callable[[], Any]) -> None:
    try:
        login()
    except PermissionError as error:
        raise RuntimeError(f"could not log in: {error}") from error


def wrapped_from_none(login: Callable[[], Any]) -> None:
    try:
        login()
    except PermissionError as error:
        raise RuntimeError(f"could not log in: {error}") from None


def grouped(login: Callable[[], Any]) -> None:
    errors: list[Exception] = []
    try:
        login()
    except PermissionError as error:
        errors.append(error)
    raise ExceptionGroup("all of them", [KeyError("x"), ExceptionGroup("inner", errors)])


def in_a_note(login: Callable[[], Any]) -> None:
    try:
        login()
    except PermissionError as error:
        text = str(error)
        error.args = ("refused",)
        error.add_note(f"it said {text}")
        raise


def within_another_tool(login: Callable[[], Any]) -> None:
    tool(login)()


def with_two_sensitive_tools(login: Callable[[], Any]) -> None:
    @tool(sensitive=["session"])
    def outer(session: str) -> None:
        login()

    outer("another secret")


@pytest.mark.parametrize(
    "around", [wrapped, wrapped_from_none, grouped, in_a_note, within_another_tool, with_two_sensitive_tools]
)
def test_what_an_exception_leads_to_does_not_quote_it_either(
    sdk: InvestigationSDK, around: Callable[[Callable[[], Any]], None]
) -> None:
    login = fails(SECRET, str)
    with pytest.raises(Exception), sdk.investigation("secrets") as investigation, phase("logging in"):  # noqa: B017
        around(login)
    assert SECRET not in whole_record(sdk, investigation.id)
    assert sdk.sync.get(investigation.id).error_message is not None


def test_a_chain_without_sensitive_tools_is_recorded_whole(sdk: InvestigationSDK) -> None:
    @tool
    def login(secret: str) -> None:
        raise PermissionError(secret)

    with pytest.raises(RuntimeError), sdk.investigation("open") as investigation:
        wrapped(lambda: login(SECRET))
    assert SECRET in whole_record(sdk, investigation.id)


def test_nothing_is_said_of_the_exceptions_of_a_tool_that_is_sensitive_as_a_whole(sdk: InvestigationSDK) -> None:
    @tool(sensitive=True)
    def login(user: str) -> None:
        raise PermissionError("weather is fine")

    with pytest.raises(PermissionError), sdk.investigation("secrets") as investigation, phase("logging in"):
        login("gil")
    record = whole_record(sdk, investigation.id)
    assert "PermissionError" in record
    assert "weather" not in record


def test_a_value_that_the_body_changes_is_still_known(sdk: InvestigationSDK) -> None:
    @tool(sensitive=["credentials"])
    def login(credentials: dict[str, str]) -> None:
        raise PermissionError(credentials.pop("password"))

    with pytest.raises(PermissionError), sdk.investigation("secrets") as investigation:
        login({"password": SECRET})
    assert SECRET not in whole_record(sdk, investigation.id)


def test_a_value_that_is_not_known_masks_every_text(sdk: InvestigationSDK) -> None:
    @tool(sensitive=["password"], ignore=["password"])
    def login(password: str) -> None:
        raise PermissionError(password)

    @tool(sensitive=["password"])
    def other(password: str, /, **more: str) -> None:
        raise PermissionError(more)

    with sdk.investigation("secrets") as investigation:
        for call in (lambda: login(SECRET), lambda: other("long enough", password=SECRET)):
            with pytest.raises(PermissionError):
                call()
    assert SECRET not in whole_record(sdk, investigation.id)


def test_a_secret_that_stands_in_the_source_is_not_recorded_with_the_traceback(sdk: InvestigationSDK) -> None:
    @tool(sensitive=["password"])
    def login(password: str) -> None:
        raise PermissionError("503")

    with pytest.raises(PermissionError), sdk.investigation("secrets") as investigation, phase("logging in"):
        login("Tr0ub4dor&3 Tr0ub4dor&3")
    assert "Tr0ub4dor" not in whole_record(sdk, investigation.id)


async def test_async_tools_and_generators_too(sdk: InvestigationSDK) -> None:
    @tool(sensitive=["secret"])
    async def login(secret: str) -> None:
        raise PermissionError(secret)

    @tool(sensitive=["secret"])
    def generate(secret: str) -> Any:
        yield 1
        raise PermissionError(secret)

    async with sdk.investigation("secrets") as investigation:
        with pytest.raises(PermissionError):
            await login(SECRET)
        with pytest.raises(PermissionError):
            list(generate(SECRET))
    events = [e.event_data async for e in sdk.iter_events(investigation.id)]
    assert SECRET not in json.dumps(events, default=repr)


class Frozen(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("frozen")


class Rude:
    def __str__(self) -> str:
        raise OSError("no")


def test_odd_exceptions_and_values_do_no_harm(sdk: InvestigationSDK) -> None:
    @tool(sensitive=["secret"])
    def login(secret: object) -> None:
        raise Frozen(secret)

    loop: list[Any] = [SECRET]
    loop.append(loop)
    with sdk.investigation("secrets") as investigation:
        for value in (SECRET, Rude(), loop, {"a long key": Rude()}):
            with pytest.raises(Frozen):
                login(value)
    record = whole_record(sdk, investigation.id)
    assert SECRET not in record
    assert record.count("Frozen") >= 4


def test_what_is_kept_back_does_not_show_itself() -> None:
    kept = confidential([SECRET])
    assert SECRET not in repr(kept)
    assert copy.deepcopy(kept).quoted_in("anything"), "nor is it in a pickle, which is made in the same way"
    assert EVERYTHING.quoted_in("")
    assert not kept.quoted_in("nothing of it")
    assert (kept | EVERYTHING).quoted_in("x")
    assert (kept | confidential(["something else"])).quoted_in("something")
