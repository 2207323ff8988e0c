"""@tool under FastMCP's decorator, called by its client in memory, and the same under the MCP SDK's own server."""

import threading
from typing import Any

import anyio
import pytest

pytest.importorskip("fastmcp", reason="fastmcp is not installed: run make test-frameworks")

from fastmcp import Client, Context, FastMCP
from fastmcp.dependencies import CurrentContext, Depends
from fastmcp.exceptions import ToolError
from fastmcp.tools import Tool
from mcp.server.mcpserver import Context as MCPContext
from mcp.server.mcpserver import MCPServer

from investigation_sdk import (
    InvestigationCancelled,
    InvestigationPaused,
    InvestigationSDK,
    ToolState,
    current_investigation,
    tool,
)
from tests.frameworks.tools import Register, afails, apages, asearch, fails, fresh, pages, search


def server(*tools: Any) -> FastMCP[Any]:
    made: FastMCP[Any] = FastMCP("register")
    for one in tools:
        made.tool(one)
    return made


async def listed(*tools: Any) -> list[Any]:
    """What a client is told of the tools."""
    async with Client(server(*tools)) as client:
        return [one.model_dump(mode="json") for one in await client.list_tools()]


@pytest.mark.parametrize("fn", [search, asearch, Register("r").find, pages, apages])
async def test_the_framework_sees_the_same(fn: Any) -> None:
    (ours,) = await listed(tool(fn))
    assert [ours] == await listed(fresh(fn))
    assert "query" in str(ours)


async def test_each_call_is_one_record(sdk: InvestigationSDK) -> None:
    made = server(*(tool(agent="register")(fn) for fn in (search, asearch, Register("nl").find)))
    async with sdk.investigation("calls") as investigation, investigation.phase("p") as p, Client(made) as client:
        assert (await client.call_tool("search", {"query": "a"})).data == "a:3:fast:-"
        assert (await client.call_tool("asearch", {"query": "b", "only": {"country": "nl"}})).data == "b:3:fast:nl"
        assert (await client.call_tool("find", {"query": "c"})).data == "nl/c/1"
    calls = await sdk.tools(investigation.id)
    assert [(c.tool_name, c.input_parameters["query"], c.output_result) for c in calls] == [
        ("search", "a", "a:3:fast:-"),
        ("asearch", "b", "b:3:fast:nl"),
        ("find", "c", "nl/c/1"),
    ]
    assert {(c.agent_name, c.status, c.phase_id) for c in calls} == {("register", ToolState.COMPLETED, p.id)}
    assert (await sdk.verify(investigation.id)).ok


async def test_an_investigation_of_the_server(lite: InvestigationSDK) -> None:
    """The usual deployment: the client is another program, and each request of its opens an investigation here."""
    made: FastMCP[Any] = FastMCP("cases")

    @made.tool
    async def investigate(account: str) -> str:
        async with lite.investigation(account, key=account) as investigation, investigation.phase("p"):
            investigation.result = await tool(asearch)(account)
        return investigation.id

    async with Client(made) as client:
        id = (await client.call_tool("investigate", {"account": "42"})).data
    assert (await lite.get(id)).result == "42:3:fast:-"


async def test_generators_are_recorded_whole(lite: InvestigationSDK) -> None:
    """FastMCP makes a list of them."""
    async with lite.investigation("pages") as investigation, Client(server(tool(pages), tool(apages))) as client:
        plain = Client(server(fresh(pages), fresh(apages)))
        async with plain:
            for name in ("pages", "apages"):
                ours = await client.call_tool(name, {"query": "a"})
                assert ours.content == (await plain.call_tool(name, {"query": "a"})).content
    calls = await lite.tools(investigation.id)
    assert [(c.tool_name, c.output_result["items"], c.output_result["exhausted"]) for c in calls] == [
        ("pages", ["a 1", "a 2"], True),
        ("apages", ["a 1", "a 2"], True),
    ]


async def test_errors_are_theirs_and_recorded(lite: InvestigationSDK) -> None:
    async with lite.investigation("errors") as investigation, Client(server(tool(fails), tool(afails))) as client:
        for name in ("fails", "afails"):
            with pytest.raises(ToolError, match="no x here"):
                await client.call_tool(name, {"query": "x"})
        with pytest.raises(ToolError):
            await client.call_tool("fails", {"wrong": 1})  # refused by the schema: there was no call
    calls = await lite.tools(investigation.id)
    assert [(c.status, c.error_message) for c in calls] == [(ToolState.FAILED, "LookupError: no x here")] * 2


async def test_what_is_injected_is_left_out(lite: InvestigationSDK) -> None:
    seen: list[Any] = []

    def connection() -> str:
        return "s3cret"

    current = CurrentContext()

    @tool
    async def look(query: str, ctx: Context, db: str = Depends(connection), again: Any = current) -> str:
        seen.append((ctx.fastmcp.name, db, again))
        return query

    async with lite.investigation("context") as investigation, Client(server(look)) as client:
        assert (await client.call_tool("look", {"query": "a"})).data == "a"
        assert list((await client.list_tools())[0].input_schema["properties"]) == ["query"]
    assert seen[0][:2] == ("register", "s3cret")
    (call,) = await lite.tools(investigation.id)
    assert call.input_parameters == {"query": "a"}
    assert not await lite.events(investigation.id, event_type="recorder.warning")


async def test_the_mcp_sdks_own_server(lite: InvestigationSDK) -> None:
    from mcp import Client as MCPClient

    made = MCPServer("register")

    @made.tool()
    @tool
    async def look(query: str, ctx: MCPContext) -> str:
        """Look."""
        assert ctx.request_id
        return query

    async with lite.investigation("mcp") as investigation, MCPClient(made) as client:
        result = await client.call_tool("look", {"query": "a"})
        assert "a" in str(result.content)
    (call,) = await lite.tools(investigation.id)
    assert call.input_parameters == {"query": "a"}


async def test_parallel_tools_in_threads_keep_the_context(sdk: InvestigationSDK) -> None:
    together = threading.Barrier(3, timeout=20)

    @tool
    def wait(n: int) -> str:
        together.wait()
        return current_investigation().id  # type: ignore[union-attr]

    async with (
        sdk.investigation("threads") as investigation,
        investigation.phase("p") as p,
        Client(server(wait)) as client,
        anyio.create_task_group() as group,
    ):
        for n in range(3):
            group.start_soon(client.call_tool, "wait", {"n": n})
    calls = await sdk.tools(investigation.id)
    assert sorted(c.input_parameters["n"] for c in calls) == [0, 1, 2]
    assert {(c.phase_id, c.output_result) for c in calls} == {(p.id, investigation.id)}


def test_over_what_fastmcp_has_it_says_what_to_do() -> None:
    def mine(query: str) -> str:
        return query

    registered = FastMCP("x").tool(mine)
    assert registered is mine  # type: ignore[comparison-overlap,unused-ignore]
    with pytest.raises(TypeError, match=r"'mine'.*FastMCP") as refused:
        tool(registered)
    assert "Put @tool innermost" in str(refused.value)
    with pytest.raises(TypeError, match="FunctionTool"):
        tool(Tool.from_function(search))  # type: ignore[type-var,unused-ignore]
    assert callable(FastMCP("x").tool(tool(search)))


@pytest.mark.parametrize("verb", ["pause", "cancel"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_stop_reaches_the_block(lite: InvestigationSDK, verb: str, kind: str) -> None:
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

    with (
        anyio.fail_after(20),
        pytest.raises(InvestigationPaused if verb == "pause" else InvestigationCancelled) as stopped,
    ):
        async with (
            sdk.investigation("stop") as investigation,
            investigation.phase("p"),
            Client(server(stop, after, aafter)) as client,
        ):
            await client.call_tool("stop", {})
            await client.call_tool("after" if kind == "sync" else "aafter", {"n": 1})
    id = str(stopped.value.investigation_id)
    assert not ran
    assert [c.tool_name for c in await sdk.tools(id)] == ["stop"]
    assert (await sdk.get(id)).status == {"pause": "paused", "cancel": "cancelled"}[verb]
    await sdk.aclose()
