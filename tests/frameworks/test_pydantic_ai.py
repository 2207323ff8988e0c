"""@tool under pydantic-ai's registrations, called by an Agent, with its own models for tests and no network."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("pydantic_ai", reason="pydantic-ai is not installed: run make test-frameworks")

from pydantic_ai import (
    Agent,
    ApprovalRequired,
    CallDeferred,
    DeferredToolRequests,
    DeferredToolResults,
    FunctionToolset,
    ModelRetry,
    RunContext,
    Tool,
)
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel

from investigation_sdk import (
    InvestigationCancelled,
    InvestigationPaused,
    InvestigationSDK,
    ToolState,
    current_investigation,
    tool,
)
from investigation_sdk.testing import SimulatedCrash, crash_at
from tests.frameworks.tools import Register, afails, asearch, fails, search

Script = list[list[tuple[str, dict[str, Any]]]]


@dataclass
class Deps:
    secret: str


def scripted(script: Script) -> FunctionModel:
    """Asks for the tools that it is told to, then answers with what the last of them gave."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        if turn < len(script):
            return ModelResponse(
                [ToolCallPart(name, args, f"{turn}-{n}") for n, (name, args) in enumerate(script[turn])]
            )
        given = [part.content for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
        return ModelResponse([TextPart(str(given[-1] if given else "nothing"))])

    return FunctionModel(answer)


async def schemas(*tools: Any) -> list[Any]:
    """What a model is told of the tools."""
    seen: list[Any] = []

    def look(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        seen.extend((t.name, t.description, t.parameters_json_schema) for t in info.function_tools)
        return ModelResponse([TextPart("x")])

    await Agent(FunctionModel(look), tools=tools).run("go")
    return seen


@pytest.mark.parametrize("fn", [search, asearch, Register("r").find])
async def test_the_framework_sees_the_same(fn: Any) -> None:
    (ours,) = await schemas(tool(fn))
    assert ours == (await schemas(fn))[0]
    assert ours[2]["properties"]["query"]


@pytest.mark.parametrize("way", ["tool_plain", "Tool", "tools=", "toolset"])
async def test_each_call_is_one_record(sdk: InvestigationSDK, way: str) -> None:
    recorded: list[Callable[..., Any]] = [tool(agent="register")(fn) for fn in (search, asearch)]
    script: Script = [
        [("search", {"query": "a"}), ("asearch", {"query": "b", "only": {"country": "nl"}})],
        [("search", {"query": "c"})],
    ]
    model = scripted(script)
    match way:
        case "tool_plain":
            agent = Agent(model)
            for fn in recorded:
                agent.tool_plain(fn)
        case "Tool":
            agent = Agent(model, tools=[Tool(fn) for fn in recorded])
        case "tools=":
            agent = Agent(model, tools=recorded)
        case _:
            agent = Agent(model, toolsets=[FunctionToolset(recorded)])
    async with sdk.investigation("calls") as investigation, investigation.phase("p") as p:
        investigation.result = (await agent.run("go")).output
    calls = sorted(await sdk.tools(investigation.id), key=lambda c: str(c.input_parameters["query"]))
    assert [(c.tool_name, c.input_parameters["query"], c.output_result) for c in calls] == [
        ("search", "a", "a:3:fast:-"),
        ("asearch", "b", "b:3:fast:nl"),
        ("search", "c", "c:3:fast:-"),
    ]
    assert {(c.agent_name, c.status, c.phase_id) for c in calls} == {("register", ToolState.COMPLETED, p.id)}
    assert (await sdk.get(investigation.id)).result == "c:3:fast:-"
    assert (await sdk.verify(investigation.id)).ok


@pytest.mark.usefixtures("thread_loop")
def test_run_sync_and_the_test_model(lite: InvestigationSDK) -> None:
    agent = Agent(TestModel(), tools=[tool(search), tool(asearch)])
    with lite.investigation("sync") as investigation, investigation.phase("p"):
        agent.run_sync("go")
    assert sorted(c.tool_name for c in lite.sync.tools(investigation.id)) == ["asearch", "search"]


async def test_the_context_is_left_out(lite: InvestigationSDK) -> None:
    agent: Agent[Deps, str] = Agent(
        scripted([[("look", {"query": "a"})], [("look_sync", {"query": "b"})]]), deps_type=Deps
    )
    seen: list[str] = []

    @agent.tool
    @tool
    async def look(ctx: RunContext[Deps], query: str) -> str:
        seen.append(ctx.deps.secret)
        return query

    @agent.tool(retries=2)
    @tool(ignore=["ctx"])
    def look_sync(ctx: RunContext[Deps], query: str) -> str:
        seen.append(ctx.deps.secret)
        return query

    async with lite.investigation("context") as investigation:
        assert (await agent.run("go", deps=Deps("s3cret"))).output == "b"
    assert seen == ["s3cret"] * 2
    calls = await lite.tools(investigation.id)
    assert [c.input_parameters for c in calls] == [{"query": "a"}, {"query": "b"}]
    assert "s3cret" not in "".join(str(e) for e in await lite.events(investigation.id))
    assert not await lite.events(investigation.id, event_type="recorder.warning")


async def test_errors_are_theirs_and_recorded(lite: InvestigationSDK) -> None:
    async with lite.investigation("errors") as investigation:
        for fn in (fails, afails):
            with pytest.raises(LookupError, match="no x here"):
                await Agent(scripted([[(fn.__name__, {"query": "x"})]]), tools=[tool(fn)]).run("go")
    calls = await lite.tools(investigation.id)
    assert [(c.status, c.error_message) for c in calls] == [(ToolState.FAILED, "LookupError: no x here")] * 2


async def test_what_steers_the_agent_is_no_failure(lite: InvestigationSDK) -> None:
    tries: list[int] = []

    @tool
    def again(n: int) -> str:
        tries.append(n)
        if len(tries) == 1:
            raise ModelRetry("larger")
        return "enough"

    @tool
    def later(n: int) -> str:
        raise CallDeferred

    @tool
    async def approved(ctx: RunContext[None], n: int) -> str:
        if not ctx.tool_call_approved:
            raise ApprovalRequired
        return "signed"

    agent: Agent[None, str | DeferredToolRequests] = Agent(
        scripted([[("again", {"n": 1})], [("again", {"n": 2})], [("later", {"n": 3}), ("approved", {"n": 4})]]),
        tools=[again, later, approved],
        output_type=[str, DeferredToolRequests],
    )
    async with lite.investigation("steers") as investigation:
        asked = await agent.run("go")
        assert isinstance(asked.output, DeferredToolRequests)
        answers = DeferredToolResults(calls={"2-0": "came"}, approvals={"2-1": True})
        done = await agent.run(message_history=asked.all_messages(), deferred_tool_results=answers)
        assert done.output == "signed"
    calls = await lite.tools(investigation.id)
    assert sorted((c.input_parameters["n"], c.tool_name, c.status.value) for c in calls) == [
        (1, "again", "interrupted"),
        (2, "again", "completed"),
        (3, "later", "interrupted"),
        (4, "approved", "completed"),
        (4, "approved", "interrupted"),
    ]
    assert (await lite.get(investigation.id)).status == "completed"


async def test_parallel_tools_in_threads_keep_the_context(sdk: InvestigationSDK) -> None:
    together = threading.Barrier(3, timeout=20)

    @tool
    def wait(n: int) -> str:
        together.wait()
        return current_investigation().id  # type: ignore[union-attr]

    agent = Agent(scripted([[("wait", {"n": n}) for n in range(3)]]), tools=[wait])
    async with sdk.investigation("threads") as investigation, investigation.phase("p") as p:
        assert (await agent.run("go")).output == investigation.id
    calls = await sdk.tools(investigation.id)
    assert sorted(c.input_parameters["n"] for c in calls) == [0, 1, 2]
    assert {c.phase_id for c in calls} == {p.id}


def test_over_a_tool_object_it_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"pydantic_ai\.tools\.Tool") as refused:
        tool(Tool(search))  # type: ignore[type-var,unused-ignore]
    assert "Put @tool innermost" in str(refused.value)


async def test_over_a_registration_nothing_can_be_recorded(lite: InvestigationSDK) -> None:
    """It gives back the function itself, so nobody can tell: the guide says so. Here so that a change is noticed."""
    agent = Agent(scripted([[("search", {"query": "a"})]]))
    registered = agent.tool_plain(search)
    assert registered is search
    recorded = tool(registered)
    async with lite.investigation("wrong order") as investigation:
        await agent.run("go")
        assert len(await lite.tools(investigation.id)) == 0
        recorded("b")
    assert len(await lite.tools(investigation.id)) == 1


@pytest.mark.parametrize("verb", ["pause", "cancel"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_stop_is_not_shown_to_the_model(lite: InvestigationSDK, verb: str, kind: str) -> None:
    sdk = InvestigationSDK(lite._recorder.backend, on_pause="raise")
    ran: list[str] = []

    @tool
    async def stop() -> str:
        investigation = current_investigation()
        assert investigation is not None
        await getattr(sdk.service, verb)(investigation.id)
        return "stopped"

    @tool
    def after(n: int) -> None:
        ran.append("after")

    @tool
    async def aafter(n: int) -> None:
        ran.append("after")

    name = "after" if kind == "sync" else "aafter"
    script: Script = [[("stop", {})], [(name, {"n": 1}), (name, {"n": 2})], [(name, {"n": 3})]]
    agent = Agent(scripted(script), tools=[stop, after, aafter])
    with pytest.raises(InvestigationPaused if verb == "pause" else InvestigationCancelled) as stopped:
        async with sdk.investigation("stop") as investigation, investigation.phase("p"):
            await agent.run("go")
    id = str(stopped.value.investigation_id)
    assert not ran
    assert [c.tool_name for c in await sdk.tools(id)] == ["stop"]
    assert (await sdk.get(id)).status == {"pause": "paused", "cancel": "cancelled"}[verb]
    await sdk.aclose()


async def test_after_a_crash_recorded_results_are_given_back(lite: InvestigationSDK) -> None:
    """What the framework fills in makes no difference: the context of the second run is another object."""
    ran: list[str] = []

    @tool(effect="read")
    async def look(ctx: RunContext[Deps], query: str) -> str:
        ran.append(f"{ctx.deps.secret} {query}")
        return f"found {query}"

    agent: Agent[Deps, str] = Agent(
        scripted([[("look", {"query": "a"})], [("look", {"query": "b"})]]), deps_type=Deps, tools=[look]
    )
    with pytest.raises(SimulatedCrash), crash_at("tool.started", nth=2):
        async with lite.investigation("crash", key="k"):
            await agent.run("go", deps=Deps("first"))
    async with lite.investigation("crash", key="k") as again:
        assert again.attempt == 2
        assert (await agent.run("go", deps=Deps("second"))).output == "found b"
    assert ran == ["first a", "second b"]
    assert (await lite.get(again.id)).status == "completed"


def test_under_trio(lite: InvestigationSDK) -> None:
    """pydantic-ai itself runs under asyncio alone; a thread of its own lets a trio program use it."""
    import trio

    agent = Agent(scripted([[("asearch", {"query": "a"})]]), tools=[tool(asearch)])

    async def main() -> str:
        async with lite.investigation("trio") as investigation:
            await trio.to_thread.run_sync(lambda: asyncio.run(agent.run("go")))
        return investigation.id

    assert [c.tool_name for c in lite.sync.tools(trio.run(main))] == ["asearch"]
