"""The options of @tool: what they record, and what is refused, with a message that helps."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from investigation_sdk import Effect, InvestigationSDK, agent, tool
from investigation_sdk.domain.records import ToolExecution
from investigation_sdk.storage.codec import Tagged


def only_call(sdk: InvestigationSDK, id: str) -> ToolExecution:
    (call,) = sdk.sync.tools(id)
    return call


def whole_log(sdk: InvestigationSDK, id: str) -> str:
    return json.dumps([e.event_data for e in sdk.sync.iter_events(id)], default=repr)


def digests(sdk: InvestigationSDK, id: str) -> list[str | None]:
    return [e.event_data.get("digest") for e in sdk.sync.iter_events(id, event_type="tool.started")]


def test_name_agent_version_effect_and_summary_are_recorded(sdk: InvestigationSDK) -> None:
    @tool(name="geo.lookup", agent="network", version="3", effect=Effect.READ, summary=lambda r: f"{len(r)} hits")
    def locate(ip: str) -> list[str]:
        return [ip, ip]

    with sdk.investigation("options") as investigation:
        locate("10.0.0.1")
    call = only_call(sdk, investigation.id)
    assert (call.tool_name, call.agent_name, call.tool_version) == ("geo.lookup", "network", "3")
    assert (call.effect, call.result_summary) == (Effect.READ, "2 hits")


def test_a_summary_that_fails_does_no_harm(sdk: InvestigationSDK) -> None:
    @tool(summary=lambda r: r["missing"])
    def find() -> dict[str, int]:
        return {"n": 1}

    with sdk.investigation("summary") as investigation:
        assert find() == {"n": 1}
    assert only_call(sdk, investigation.id).result_summary == "(summary failed: KeyError)"


@pytest.mark.parametrize("summary", [len, lambda _: None, lambda _: {"n": 2}, lambda r: r])
def test_a_summary_that_is_no_text_is_recorded_as_text(sdk: InvestigationSDK, summary: Callable[[Any], Any]) -> None:
    @tool(summary=summary)
    def find() -> list[int]:
        return [1, 2]

    with sdk.investigation("summary") as investigation:
        assert find() == [1, 2]
    assert only_call(sdk, investigation.id).result_summary == str(summary([1, 2]))


async def test_the_agent_around_is_that_of_tools_that_name_none(sdk: InvestigationSDK) -> None:
    @tool
    def free() -> None: ...
    @tool(agent="own")
    def bound() -> None: ...
    @agent("decorator")
    async def acts() -> None:
        free()

    async with sdk.investigation("agents") as investigation:
        free()
        with agent("outer", model="large", version="2"):
            free()
            bound()
            async with agent("inner"):
                free()
            free()
        await acts()
        free()
    names = [c.agent_name for c in await sdk.tools(investigation.id)]
    assert names == ["main", "outer", "own", "inner", "outer", "decorator", "main"]
    started = [e.event_data async for e in sdk.iter_events(investigation.id, event_type="tool.started")]
    assert (started[1]["model"], started[1]["agent_version"]) == ("large", "2")
    assert "model" not in started[3]


def test_what_is_ignored_is_neither_recorded_nor_compared(sdk: InvestigationSDK) -> None:
    @tool(ignore=["session"])
    def query(text: str, session: object = None) -> None: ...

    with sdk.investigation("ignore") as investigation:
        query("a", session=object())
        query("a", session="another")
        query("b")
    assert [c.input_parameters for c in sdk.sync.tools(investigation.id)] == [{"text": t} for t in "aab"]
    assert digests(sdk, investigation.id) == [None] * 3  # it is that of what is recorded
    assert not sdk.sync.events(investigation.id, event_type="recorder.warning")


def test_identity_says_what_makes_two_calls_the_same(sdk: InvestigationSDK) -> None:
    @tool(identity=["account"])
    def freeze(account: str, reason: str) -> None: ...
    @tool(identity=lambda account, reason: account.lower())
    def thaw(account: str, reason: str) -> None: ...

    with sdk.investigation("identity") as investigation:
        freeze("A", "x")
        freeze("A", "y")
        freeze("B", "x")
        thaw("A", "x")
        thaw("a", "y")
        thaw("b", "y")
    found = digests(sdk, investigation.id)
    assert found[0] == found[1] != found[2]
    assert found[3] == found[4] != found[5]


def test_an_identity_function_that_fails_does_not_keep_the_body_from_running(sdk: InvestigationSDK) -> None:
    @tool(identity=lambda missing: missing)
    def freeze(account: str) -> str:
        return account

    with sdk.investigation("identity") as investigation:
        assert freeze("A") == "A"
    assert digests(sdk, investigation.id) == [None]
    (warning,) = sdk.sync.events(investigation.id, event_type="recorder.warning")
    assert "identity" in warning.event_data["message"]


SECRET = "correct horse battery staple"  # noqa: S105


def names_a_parameter() -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    @tool(sensitive=["password"])
    def login(user: str, password: str) -> str:
        return user

    return login, ("gil", SECRET), {}


def everything() -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    @tool(sensitive=True)
    def login(user: str) -> str:
        return user

    return login, (SECRET,), {}


def everything_and_fails() -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    @tool(sensitive=True)
    def login(user: str) -> str:
        raise ValueError(user)

    return login, (SECRET,), {}


def the_result() -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    @tool(sensitive=["return"])
    def token() -> str:
        return SECRET

    return token, (), {}


def items_of_a_generator() -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    @tool(sensitive=["return"])
    def tokens() -> Iterator[str]:
        yield SECRET

    return tokens, (), {}


def one_of_the_keywords() -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    @tool(sensitive=["password"])
    def login(**credentials: str) -> None: ...

    return login, (), {"user": "gil", "password": SECRET}


def a_call_that_does_not_fit() -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    @tool(sensitive=["password"])
    def login(user: str, password: str) -> None: ...

    return login, ("gil", SECRET, "too much"), {}


@pytest.mark.parametrize(
    "case",
    [
        names_a_parameter,
        everything,
        everything_and_fails,
        the_result,
        items_of_a_generator,
        one_of_the_keywords,
        a_call_that_does_not_fit,
    ],
)
def test_what_is_sensitive_does_not_reach_the_log(
    sdk: InvestigationSDK, case: Callable[[], tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]
) -> None:
    fn, args, kwargs = case()
    with sdk.investigation("secrets") as investigation:
        try:
            list(fn(*args, **kwargs) or ())
        except (ValueError, TypeError):
            pass
    log = whole_log(sdk, investigation.id)
    assert SECRET not in log
    assert "masked" in log
    call = only_call(sdk, investigation.id)
    assert SECRET not in repr(call.model_dump())
    plain = hashlib.sha256(json.dumps(SECRET).encode()).hexdigest()
    assert plain[:32] not in log


def test_only_what_is_sensitive_is_masked(sdk: InvestigationSDK) -> None:
    fn, args, kwargs = names_a_parameter()
    with sdk.investigation("secrets") as investigation:
        assert fn(*args, **kwargs) == "gil"
    call = only_call(sdk, investigation.id)
    assert call.input_parameters["user"] == call.output_result == "gil"
    assert isinstance(call.input_parameters["password"], Tagged)


def test_calls_with_secrets_are_compared_by_a_keyed_digest(
    sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    fn, _, _ = names_a_parameter()
    with sdk.investigation("digests") as investigation:
        fn("gil", "one")
        for key in ("key", "another key"):
            monkeypatch.setenv("INVESTIGATION_DIGEST_KEY", key)
            fn("gil", "one")
            fn("gil", "one")
            fn("gil", "two")
    without, *found = digests(sdk, investigation.id)
    assert without is None  # a plain hash of a secret can be guessed
    assert found[0] == found[1] != found[2]
    assert found[3] not in (None, *found[:3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"effect": "reed"}, r"effect='reed' is not an effect; .*'unsafe'.* Did you mean 'read'\?"),
        ({"effect": "zzz"}, r"effect='zzz' is not an effect; there are 'read', 'idempotent', 'unsafe'\.$"),
        ({"ignore": ["sesion"]}, r"ignore=.* of 'query' names 'sesion', .* text, session"),
        ({"identity": ["txt"]}, r"identity=.* of 'query' names 'txt', .* text, session"),
        ({"sensitive": ["pasword"]}, r"sensitive=.* of 'query' names 'pasword', .* text, session"),
        ({"sensitive": "session"}, r"sensitive='session'.*\['session'\]"),
        ({"ignore": "text"}, r"ignore='text'.*\['text'\]"),
        ({"identity": "text"}, r"identity='text'.*\['text'\]"),
        ({"ignore": ["return"]}, "ignore=.* names 'return'"),
        *(
            ({option: given}, rf"^{option}=.* is not .*a list of names")
            for option in ("ignore", "identity", "sensitive")
            for given in (b"text", [1], [None], [["text"]], ["text", 1], 3)
        ),
        ({"ignore": None}, "^ignore=None is not a list of names"),
        ({"sensitive": None}, "^sensitive=None is not True, False or a list of names"),
    ],
)
def test_mistyped_options(options: dict[str, Any], message: str) -> None:
    def query(text: str, session: object) -> None: ...

    with pytest.raises(ValueError, match=message):
        tool(**options)(query)


def test_an_option_that_does_not_exist() -> None:
    with pytest.raises(TypeError, match="efect"):
        tool(efect="read")  # type: ignore[call-overload]


def framework_object(module: str, name: str, **members: Any) -> Any:
    return type(name, (), {"__module__": module, **members})()


def runs(self: object, *args: object) -> None: ...


@pytest.mark.parametrize(
    ("module", "name", "members"),
    [
        ("langchain_core.tools.structured", "StructuredTool", {"__call__": runs}),
        ("langchain.tools", "Tool", {"__call__": runs}),
        ("agents.tool", "FunctionTool", {}),
        ("pydantic_ai.tools", "Tool", {}),
        ("fastmcp.tools.tool", "FunctionTool", {}),
        ("mcp.server.fastmcp.tools.base", "Tool", {}),
        ("crewai.tools.base_tool", "Tool", {}),
        ("smolagents.tools", "SimpleTool", {"__call__": runs}),
    ],
)
def test_tool_objects_of_frameworks_are_refused(module: str, name: str, members: dict[str, Any]) -> None:
    with pytest.raises(TypeError) as refused:
        tool(framework_object(module, name, **members))
    message = str(refused.value)
    assert f"{module}.{name}" in message
    assert "innermost" in message
    assert "    @framework_tool\n    @tool\n    def" in message


def test_a_users_subclass_of_a_framework_tool_is_refused() -> None:
    base = type("BaseTool", (), {"__module__": "langchain_core.tools.base", "__call__": runs})
    mine = type("MyTool", (base,), {"__module__": "my_app.tools"})
    with pytest.raises(TypeError, match="innermost"):
        tool(mine())


def test_callable_objects_of_a_users_own_package_named_like_a_framework_are_taken() -> None:
    assert tool(framework_object("agents.fraud", "Lookup", __call__=runs)).__name__ == "Lookup"
    assert tool(framework_object("mcp_tools.lookups", "Lookup", __call__=runs)).__name__ == "Lookup"


def test_a_class_is_no_tool() -> None:
    class Lookup:
        pass

    with pytest.raises(TypeError, match="Lookup is a class: put it on its methods"):
        tool(Lookup)


@pytest.mark.parametrize("thing", [SimpleNamespace(), "name", 3])
def test_what_cannot_be_called_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="@tool goes on a function"):
        tool(thing)


def test_a_sync_tool_keeps_its_name_in_plans(sdk: InvestigationSDK) -> None:
    @tool(name="geo.lookup")
    def locate() -> None: ...

    with sdk.investigation("plan") as investigation, investigation.phase("p", tools=[locate, "other"]):
        locate()
    (started,) = sdk.sync.events(investigation.id, event_type="phase.started")
    assert started.event_data["tools"] == ["geo.lookup", "other"]


def test_a_tool_is_made_a_tool_once(sdk: InvestigationSDK) -> None:
    """Each call would be recorded twice, the one inside the other."""

    class Bank:
        @tool
        def look(self) -> int:
            return 1

        @staticmethod
        @tool
        def ask() -> int:
            return 2

    @tool(name="reads", effect="read")
    def look() -> int:
        return 1

    for twice, name in ((look, "reads"), (Bank().look, "look"), (Bank.ask, "ask"), (staticmethod(look), "reads")):
        with pytest.raises(TypeError) as refused:
            tool(name="again")(twice)
        assert str(refused.value) == (
            f"@tool cannot wrap {name!r}: it is a tool already, and each call would be recorded twice. "
            "Put @tool on it once, with all options."
        )

    @functools.wraps(look)
    def retried() -> int:
        return look()

    whole = tool(name="whole")(retried)  # each try is a call, and so is the whole
    with sdk.investigation("s") as investigation:
        assert whole() == 1
    assert [call.tool_name for call in sdk.sync.tools(investigation.id)] == ["whole", "reads"]
