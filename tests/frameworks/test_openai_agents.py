"""@tool under OpenAI's function_tool, called by the Runner, with a model that follows a script and no network."""

import json
import threading
from typing import Any

import pytest

pytest.importorskip("agents", reason="openai-agents is not installed: run make test-frameworks")

from agents import Agent, RunConfig, RunContextWrapper, Runner, function_tool
from agents.items import ModelResponse
from agents.models.interface import Model
from agents.tool_context import ToolContext
from agents.usage import Usage
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from investigation_sdk import (
    InvestigationCancelled,
    InvestigationPaused,
    InvestigationSDK,
    ToolState,
    current_investigation,
    tool,
)
from tests.frameworks.tools import Register, afails, asearch, fails, search

Script = list[list[tuple[str, dict[str, Any]]]]


class Scripted(Model):
    """Asks for the tools that it is told to, then answers with what the last of them gave."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.given: list[Any] = []

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        given = kwargs["input"] if "input" in kwargs else args[1]
        turn = len(self.given)
        self.given.append(given)
        output: list[Any] = []
        if turn < len(self.script):
            for n, (name, arguments) in enumerate(self.script[turn]):
                text = json.dumps(arguments)
                call = ResponseFunctionToolCall(
                    type="function_call", name=name, arguments=text, call_id=f"{turn}-{n}", id=f"{turn}-{n}"
                )
                output.append(call)
        else:
            text = ResponseOutputText(type="output_text", text=str(given[-1].get("output")), annotations=[])
            output.append(
                ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])
            )
        return ModelResponse(output=output, usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


QUIET = RunConfig(tracing_disabled=True)


async def run(script: Script, tools: list[Any], context: Any = None) -> tuple[str, list[Any]]:
    """Run an agent; its answer, and what the model was given."""
    model = Scripted(script)
    agent: Agent[Any] = Agent(name="a", model=model, tools=tools)
    result = await Runner.run(agent, "go", context=context, run_config=QUIET)
    return str(result.final_output), model.given


@pytest.mark.parametrize("fn", [search, asearch, Register("r").find])
def test_the_framework_sees_the_same(fn: Any) -> None:
    plain, ours = function_tool(fn), function_tool(tool(fn))
    assert (ours.name, ours.description) == (plain.name, plain.description)
    assert ours.params_json_schema == plain.params_json_schema
    assert ours.params_json_schema["properties"]["query"]


async def test_each_call_is_one_record(sdk: InvestigationSDK) -> None:
    tools = [function_tool(tool(agent="register")(fn)) for fn in (search, asearch, Register("nl").find)]
    script: Script = [
        [("search", {"query": "a"}), ("asearch", {"query": "b", "only": {"country": "nl"}})],
        [("find", {"query": "c"})],
    ]
    async with sdk.investigation("calls") as investigation, investigation.phase("p") as p:
        answer, _ = await run(script, tools)
        investigation.result = answer
    assert answer == "nl/c/1"
    calls = sorted(await sdk.tools(investigation.id), key=lambda c: str(c.input_parameters["query"]))
    assert [(c.tool_name, c.input_parameters["query"], c.output_result) for c in calls] == [
        ("search", "a", "a:3:fast:-"),
        ("asearch", "b", "b:3:fast:nl"),
        ("find", "c", "nl/c/1"),
    ]
    assert {(c.agent_name, c.status, c.phase_id) for c in calls} == {("register", ToolState.COMPLETED, p.id)}
    assert (await sdk.verify(investigation.id)).ok


@pytest.mark.usefixtures("thread_loop")
def test_run_sync(lite: InvestigationSDK) -> None:
    agent: Agent[Any] = Agent(
        name="a", model=Scripted([[("search", {"query": "a"})]]), tools=[function_tool(tool(search))]
    )
    with lite.investigation("sync") as investigation, investigation.phase("p") as p:
        assert Runner.run_sync(agent, "go", run_config=QUIET).final_output == "a:3:fast:-"
    (call,) = lite.sync.tools(investigation.id)
    assert (call.input_parameters["query"], call.phase_id) == ("a", p.id)


async def test_parallel_tools_in_threads_keep_the_context(sdk: InvestigationSDK) -> None:
    together = threading.Barrier(3, timeout=20)

    @function_tool
    @tool
    def wait(n: int) -> str:
        """Wait for the others."""
        together.wait()
        return current_investigation().id  # type: ignore[union-attr]

    async with sdk.investigation("threads") as investigation, investigation.phase("p") as p:
        answer, _ = await run([[("wait", {"n": n}) for n in range(3)]], [wait])
    assert answer == investigation.id
    calls = await sdk.tools(investigation.id)
    assert sorted(c.input_parameters["n"] for c in calls) == [0, 1, 2]
    assert {c.phase_id for c in calls} == {p.id}


async def test_errors_are_theirs_and_recorded(lite: InvestigationSDK) -> None:
    shown = [function_tool(tool(fails)), function_tool(tool(afails))]
    raising = function_tool(tool(fails), failure_error_function=None)
    async with lite.investigation("errors") as investigation:
        answer, _ = await run([[("fails", {"query": "x"})], [("afails", {"query": "x"})]], shown)
        assert "error occurred" in answer
        with pytest.raises(Exception, match="no x here"):
            await run([[("fails", {"query": "x"})]], [raising])
    calls = await lite.tools(investigation.id)
    assert [(c.status, c.error_message) for c in calls] == [(ToolState.FAILED, "LookupError: no x here")] * 3


def test_over_a_tool_object_it_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"agents\.tool\.FunctionTool") as refused:
        tool(function_tool(search))  # type: ignore[type-var,unused-ignore]
    assert "Put @tool innermost" in str(refused.value)


@pytest.mark.parametrize("kind", ["run context", "tool context"])
async def test_the_context_is_left_out(lite: InvestigationSDK, kind: str) -> None:
    seen: list[Any] = []
    if kind == "run context":

        @tool
        async def look(ctx: RunContextWrapper[str], query: str) -> str:
            """Look."""
            seen.append(ctx.context)
            return query
    else:

        @tool
        async def look(ctx: ToolContext[str], query: str) -> str:
            """Look."""
            seen.append(ctx.context)
            return query

    made = function_tool(look)
    assert list(made.params_json_schema["properties"]) == ["query"]
    async with lite.investigation("context") as investigation:
        answer, _ = await run([[("look", {"query": "a"})]], [made], context="secret")
    assert (answer, seen) == ("a", ["secret"])
    (call,) = await lite.tools(investigation.id)
    assert call.input_parameters == {"query": "a"}
    assert not await lite.events(investigation.id, event_type="recorder.warning")


@pytest.mark.parametrize("verb", ["pause", "cancel"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_stop_is_not_shown_to_the_model(lite: InvestigationSDK, verb: str, kind: str) -> None:
    sdk = InvestigationSDK(lite._recorder.backend, on_pause="raise")
    ran: list[str] = []

    @function_tool
    @tool
    async def stop() -> str:
        """Somebody stops the investigation meanwhile."""
        investigation = current_investigation()
        assert investigation is not None
        await getattr(sdk.service, verb)(investigation.id)
        return "stopped"

    @tool
    def after(n: int) -> None:
        """Must not run."""
        ran.append("after")

    @tool
    async def aafter(n: int) -> None:
        """Must not run."""
        ran.append("after")

    tools = [stop, function_tool(after), function_tool(aafter)]
    name = "after" if kind == "sync" else "aafter"
    with pytest.raises(InvestigationPaused if verb == "pause" else InvestigationCancelled) as stopped:
        async with sdk.investigation("stop") as investigation, investigation.phase("p"):
            await run([[("stop", {})], [(name, {"n": 1}), (name, {"n": 2})], [(name, {"n": 3})]], tools)
    id = str(stopped.value.investigation_id)
    assert not ran
    assert [c.tool_name for c in await sdk.tools(id)] == ["stop"]
    assert (await sdk.get(id)).status == {"pause": "paused", "cancel": "cancelled"}[verb]
    await sdk.aclose()
