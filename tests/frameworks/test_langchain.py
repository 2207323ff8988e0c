"""@tool under LangChain's and LangGraph's decorators, called through them, with no model and no network."""

import asyncio
import json
from typing import Annotated, Any

import pytest

pytest.importorskip("langchain", reason="langchain is not installed: run make test-frameworks")
pytest.importorskip("langgraph", reason="langgraph is not installed: run make test-frameworks")

from langchain.agents import create_agent
from langchain_core.callbacks import Callbacks
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool
from langchain_core.tools import tool as lc_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from langgraph.types import Command, interrupt

from investigation_sdk import (
    InvestigationCancelled,
    InvestigationPaused,
    InvestigationSDK,
    ToolState,
    agent,
    current_investigation,
    current_tool,
    tool,
)
from tests.frameworks.tools import Filter, Register, afails, apages, asearch, fails, pages, search


class Scripted(BaseChatModel):
    """A model that asks for the tools that it is told to, then answers."""

    script: list[list[tuple[str, dict[str, Any]]]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        turn = sum(isinstance(message, AIMessage) for message in messages)
        message = AIMessage("done")
        if turn < len(self.script):
            calls = [{"name": n, "args": a, "id": f"{turn}-{i}"} for i, (n, a) in enumerate(self.script[turn])]
            message = AIMessage("", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])


def asked(*calls: tuple[str, dict[str, Any]]) -> dict[str, list[BaseMessage]]:
    """A state in which a model has asked for tools."""
    made = [{"name": name, "args": args, "id": str(n)} for n, (name, args) in enumerate(calls)]
    return {"messages": [AIMessage("", tool_calls=made)]}


def node(tools: list[Any], **options: Any) -> Any:
    """A graph of nothing but a ToolNode."""
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(tools, **options))
    graph.add_edge(START, "tools")
    graph.add_edge("tools", END)
    return graph.compile()


@pytest.mark.parametrize("fn", [search, asearch, Register("r").find, pages])
def test_the_framework_sees_the_same(fn: Any) -> None:
    plain, ours = StructuredTool.from_function(fn), StructuredTool.from_function(tool(fn))
    assert (ours.name, ours.description) == (plain.name, plain.description)
    assert ours.tool_call_schema.model_json_schema() == plain.tool_call_schema.model_json_schema()  # type: ignore[union-attr,unused-ignore]
    assert ours.args_schema.model_json_schema() == plain.args_schema.model_json_schema()  # type: ignore[union-attr,unused-ignore]


async def test_each_call_is_one_record(sdk: InvestigationSDK) -> None:
    recorded = [lc_tool(tool(fn)) for fn in (search, asearch)]
    both = StructuredTool.from_function(func=tool(search), coroutine=tool(asearch), name="both")
    async with sdk.investigation("calls") as investigation, investigation.phase("p") as p:
        assert recorded[0].invoke({"query": "a"}) == "a:3:fast:-"
        assert await recorded[0].ainvoke({"query": "b", "only": {"country": "nl"}}) == "b:3:fast:nl"
        assert await recorded[1].ainvoke({"query": "c", "mode": "deep"}) == "c:3:deep:-"
        assert both.invoke({"query": "d"}) == await both.ainvoke({"query": "d"}) == "d:3:fast:-"
        message = recorded[0].invoke({"name": "search", "args": {"query": "e"}, "id": "1", "type": "tool_call"})
        assert isinstance(message, ToolMessage)
    calls = await sdk.tools(investigation.id)
    assert [c.input_parameters["query"] for c in calls] == ["a", "b", "c", "d", "d", "e"]
    assert [c.tool_name for c in calls] == ["search", "search", "asearch", "search", "asearch", "search"]
    assert [c.output_result for c in calls][:3] == ["a:3:fast:-", "b:3:fast:nl", "c:3:deep:-"]
    assert calls[1].input_parameters["only"].value == Filter(country="nl").model_dump()
    assert {c.phase_id for c in calls} == {p.id}
    assert {c.status for c in calls} == {ToolState.COMPLETED}


async def test_a_method_and_the_agent_of_a_scope(lite: InvestigationSDK) -> None:
    made = StructuredTool.from_function(tool(Register("nl").find))
    async with lite.investigation("method") as investigation:
        with agent("clerk", model="m"):
            assert await made.ainvoke({"query": "a"}) == made.invoke({"query": "a"}) == "nl/a/1"
    assert [(c.agent_name, c.input_parameters) for c in await lite.tools(investigation.id)] == [
        ("clerk", {"query": "a", "depth": 1})
    ] * 2


async def test_generators_are_recorded_as_they_are_consumed(lite: InvestigationSDK) -> None:
    """LangChain hands the generator on as it is."""
    sync, async_ = lc_tool(tool(pages)), lc_tool(tool(apages))
    async with lite.investigation("pages") as investigation:
        assert list(sync.invoke({"query": "a"})) == ["a 1", "a 2"]
        made = async_.invoke({"query": "b"})
        assert [page async for page in made] == ["b 1", "b 2"]
    calls = await lite.tools(investigation.id)
    assert [c.output_result["items"] for c in calls] == [["a 1", "a 2"], ["b 1", "b 2"]]


async def test_errors_are_theirs_and_recorded(lite: InvestigationSDK) -> None:
    handled = StructuredTool.from_function(tool(fails), handle_tool_error=True)
    recorded = [lc_tool(tool(fails)), lc_tool(tool(afails))]
    async with lite.investigation("errors") as investigation:
        for one in recorded:
            with pytest.raises(LookupError, match="no x here"):
                await one.ainvoke({"query": "x"})
        with pytest.raises(LookupError):
            handled.invoke({"query": "x"})
        message = (await node(recorded, handle_tool_errors=True).ainvoke(asked(("fails", {"query": "y"}))))["messages"][
            -1
        ]
        assert message.status == "error"
        bad = (await node(recorded).ainvoke(asked(("fails", {"wrong": 1}))))["messages"][-1]
        assert bad.status == "error"  # refused by the schema: there was no call
    calls = await lite.tools(investigation.id)
    assert [c.status for c in calls] == [ToolState.FAILED] * 4
    assert {c.error_message for c in calls} == {"LookupError: no x here", "LookupError: no y here"}


@pytest.mark.parametrize("order", ["BaseTool", "method"])
def test_over_a_tool_object_it_says_what_to_do(order: str) -> None:
    class Mine(BaseTool):
        name: str = "mine"
        description: str = "mine"

        def _run(self, query: str) -> str:
            return query

    theirs: Any = Mine() if order == "BaseTool" else lc_tool(search)
    with pytest.raises(TypeError, match=r"StructuredTool|Mine") as refused:
        tool(theirs)
    assert "Put @tool innermost" in str(refused.value)
    assert "@framework_tool\n    @tool\n    def" in str(refused.value)


async def test_what_is_injected_is_left_out(lite: InvestigationSDK) -> None:
    seen: list[Any] = []

    @lc_tool
    @tool
    def everything(
        query: str,
        state: Annotated[dict[str, Any], InjectedState],
        call_id: Annotated[str, InjectedToolCallId],
        runtime: ToolRuntime,
        config: RunnableConfig,
        callbacks: Callbacks = None,
    ) -> str:
        """Everything that can be injected."""
        seen.append((state, call_id, runtime, config))
        return query

    assert list(everything.tool_call_schema.model_json_schema()["properties"]) == ["query"]  # type: ignore[union-attr,unused-ignore]
    graph = node([everything])
    async with lite.investigation("injected") as investigation:
        await graph.ainvoke(asked(("everything", {"query": "a"})))
        graph.invoke(asked(("everything", {"query": "b"})))
    assert len(seen) == 2
    assert all(call_id == "0" and runtime.tool_call_id == "0" and config for _, call_id, runtime, config in seen)
    calls = await lite.tools(investigation.id)
    assert [c.input_parameters for c in calls] == [{"query": "a"}, {"query": "b"}]
    assert not await lite.events(investigation.id, event_type="recorder.warning")


async def test_an_interrupt_of_the_graph_is_no_failure(lite: InvestigationSDK) -> None:
    @lc_tool
    @tool(effect="read")
    def ask_a_human(question: str) -> str:
        """Ask."""
        return str(interrupt(question))

    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([ask_a_human]))
    graph.add_edge(START, "tools")
    app = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    async with lite.investigation("interrupt") as investigation:
        stopped = await app.ainvoke(asked(("ask_a_human", {"question": "sure?"})), config)
        assert [i.value for i in stopped["__interrupt__"]] == ["sure?"]
        done = await app.ainvoke(Command(resume="yes"), config)
        assert done["messages"][-1].content == "yes"
    calls = await lite.tools(investigation.id)
    assert [c.status for c in calls] == [ToolState.INTERRUPTED, ToolState.COMPLETED]
    assert (await lite.get(investigation.id)).status == "completed"


def test_parallel_tools_in_threads_keep_the_context(sdk: InvestigationSDK) -> None:
    import threading

    together = threading.Barrier(3, timeout=20)
    ids: list[str] = []

    @lc_tool
    @tool
    def wait(n: int) -> str:
        """Wait for the others."""
        together.wait()
        ids.append(current_tool().id)
        return current_investigation().id  # type: ignore[union-attr]

    calls = [("wait", {"n": n}) for n in range(3)]
    with sdk.investigation("threads") as investigation, investigation.phase("p") as p:
        done = node([wait]).invoke(asked(*calls))
    assert {m.content for m in done["messages"][1:]} == {investigation.id}
    recorded = sdk.sync.tools(investigation.id)
    assert sorted(c.id for c in recorded) == sorted(ids)
    assert {c.phase_id for c in recorded} == {p.id}
    assert sdk.sync.verify(investigation.id).ok


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_an_agent(lite: InvestigationSDK, face: str) -> None:
    model = Scripted(script=[[("search", {"query": "a"}), ("search", {"query": "b"})], [("search", {"query": "c"})]])
    graph = create_agent(model, [lc_tool(tool(agent="register")(search)), lc_tool(tool(asearch))])
    if face == "sync":

        def run() -> str:
            with lite.investigation("agent") as investigation, investigation.phase("p"):
                graph.invoke({"messages": [("user", "go")]})
            return investigation.id

        id = await asyncio.to_thread(run)
    else:
        async with lite.investigation("agent") as investigation, investigation.phase("p"):
            out = await graph.ainvoke({"messages": [("user", "go")]})
            investigation.result = out["messages"][-1].content
        id = investigation.id
        assert (await lite.get(id)).result == "done"
    calls = await lite.tools(id)
    assert sorted(c.input_parameters["query"] for c in calls) == ["a", "b", "c"]
    assert {(c.agent_name, c.status) for c in calls} == {("register", ToolState.COMPLETED)}


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("verb", ["pause", "cancel"])
async def test_a_stop_is_not_shown_to_the_model(lite: InvestigationSDK, face: str, verb: str) -> None:
    """Neither ToolNode's handler of errors nor the agent swallows it: the block ends with the typed error."""
    sdk = InvestigationSDK(lite._recorder.backend, on_pause="raise")

    @lc_tool
    @tool
    def stop() -> str:
        """Somebody stops the investigation meanwhile."""
        investigation = current_investigation()
        assert investigation is not None
        getattr(sdk.sync.service, verb)(investigation.id)
        return "stopped"

    ran: list[str] = []

    @lc_tool
    @tool
    def after(n: int) -> str:
        """Must not run."""
        ran.append("after")
        return "ran"

    model = Scripted(script=[[("stop", {})], [("after", {"n": 1}), ("after", {"n": 2})], [("after", {"n": 3})]])
    graph = create_agent(model, [stop, after])
    ids: list[str] = []

    def block() -> None:
        with sdk.investigation("stop") as investigation, investigation.phase("p"):
            ids.append(investigation.id)
            graph.invoke({"messages": [("user", "go")]})

    with pytest.raises(InvestigationPaused if verb == "pause" else InvestigationCancelled) as stopped:
        if face == "sync":
            await asyncio.to_thread(block)
        else:
            async with sdk.investigation("stop") as investigation, investigation.phase("p"):
                ids.append(investigation.id)
                await graph.ainvoke({"messages": [("user", "go")]})
    assert stopped.value.investigation_id == ids[0]
    assert not ran
    assert [c.tool_name for c in await sdk.tools(ids[0])] == ["stop"]
    assert (await sdk.get(ids[0])).status == {"pause": "paused", "cancel": "cancelled"}[verb]
    await sdk.aclose()


def test_the_message_for_the_model_is_the_tools_own() -> None:
    message = lc_tool(tool(search)).invoke({"name": "search", "args": {"query": "a"}, "id": "1", "type": "tool_call"})
    plain = lc_tool(search).invoke({"name": "search", "args": {"query": "a"}, "id": "1", "type": "tool_call"})
    assert json.loads(message.model_dump_json()) == json.loads(plain.model_dump_json())
