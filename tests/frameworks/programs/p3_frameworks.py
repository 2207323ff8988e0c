"""(3) LangGraph/LangChain and pydantic-ai agents, tools recorded; ours is innermost."""

from dataclasses import dataclass

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import tool as lc_tool
from langgraph.prebuilt import ToolNode
from pydantic_ai import Agent, RunContext

from investigation_sdk import Effect, InvestigationSDK, agent, tool

sdk = InvestigationSDK("sqlite:///fraud.db")


@lc_tool
@tool(agent="network_agent")
def whois(domain: str) -> str:
    """Who owns a domain."""
    return "registrar: X"


@lc_tool
@tool(agent="bank", effect=Effect.UNSAFE, identity=["account_id"])
async def freeze(account_id: str, reason: str) -> str:
    """Freeze an account; `reason` is free text of the model, so it must not decide sameness."""
    return "frozen"


def run_langchain(model: BaseChatModel, question: str) -> None:
    graph = create_agent(model, [whois, freeze])
    with sdk.investigation(question, key="lc-1") as inv, inv.phase("agent"), agent("triage", model="x"):
        out = graph.invoke({"messages": [{"role": "user", "content": question}]})
        inv.result = str(out["messages"][-1].content)


node = ToolNode([whois])


@dataclass
class Deps:
    tenant: str


pai: Agent[Deps, str] = Agent("test", deps_type=Deps, output_type=str)


@pai.tool
@tool(agent="device_agent", ignore=["ctx"])
async def device_reputation(ctx: RunContext[Deps], device_id: str) -> float:
    """Reputation of a device."""
    return 0.3


@pai.tool_plain
@tool
def sanctions(name: str) -> list[str]:
    """Sanction hits."""
    return []


async def run_pydantic_ai(question: str) -> str:
    async with sdk.investigation(question, key="pai-1") as inv:
        async with inv.phase("agent"):
            r = await pai.run(question, deps=Deps("t1"))
        inv.report(tokens_used=r.usage.total_tokens or 0)
        inv.result = r.output
        return r.output


class Casework:
    @tool
    def method(self, a: int) -> int:
        return a

    @classmethod
    @tool
    def klass(cls, a: int) -> int:
        return a

    @staticmethod
    @tool(version="1")
    def static(a: int) -> int:
        return a


_a: int = Casework().method(1) + Casework.klass(2) + Casework.static(3)
