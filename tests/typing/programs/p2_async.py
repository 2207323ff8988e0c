"""An asynchronous investigation by several agents: plan, parallel tools, usage, a failure, a skipped phase."""

import asyncio
import sys
from decimal import Decimal
from typing import Any

from investigation_sdk import (
    AsyncInvestigationRun,
    InvestigationPaused,
    InvestigationSDK,
    PhasePlan,
    agent,
    current_investigation,
    current_tool,
    phase,
    tool,
)

sdk = InvestigationSDK("sqlite:///fraud.db")


@tool(agent="device_agent", version="2")
async def fingerprint(device_id: str) -> dict[str, Any]:
    current_tool().report(api_calls_made=1, summary="high confidence device match")
    return {"device": device_id, "match": 0.97}


@tool(agent="network_agent")
async def ip_geolocation(ip: str) -> dict[str, Any]:
    raise TimeoutError("geo provider down")


@tool(agent="network_agent")
async def vpn_detection(ip: str) -> bool:
    for i in range(10):
        current_tool().report(progress=i / 10)
    return True


@tool(agent="log_agent", sensitive=["query"])
def search_logs(query: str) -> list[str]:
    helper_deep_down()
    return []


@tool(name="model.verdict")
async def ask_model(evidence: dict[str, Any]) -> str:
    current_tool().report(tokens_used=1200, cost_estimate=Decimal("0.000036"))
    return "fraud"


@phase("verdict", weight=2)
async def verdict(evidence: dict[str, Any]) -> str:
    return await ask_model(evidence)


async def network(inv: AsyncInvestigationRun, ip: str) -> dict[str, Any]:
    async with inv.phase("network_analysis") as p:
        geo, vpn = await asyncio.gather(ip_geolocation(ip), vpn_detection(ip), return_exceptions=True)
        if isinstance(geo, BaseException) and not isinstance(geo, Exception):
            raise geo  # interrupts must pass: return_exceptions=True hands them over as values
        p.output_data = {"geo": None if isinstance(geo, BaseException) else geo, "vpn": vpn is True}
        return {"vpn": vpn is True}


async def investigate(account: str, ip: str | None) -> str:
    plan = [
        PhasePlan("device_analysis", tools=[fingerprint]),
        PhasePlan("network_analysis", weight=3, tools=["ip_geolocation", "vpn_detection"]),
        PhasePlan("log_analysis"),
        PhasePlan("verdict", weight=2),
    ]
    async with sdk.investigation(
        f"account {account}", investigation_type="account_takeover", user_id="gil", key=f"ato-{account}", phases=plan
    ) as inv:
        if inv.finished:
            return str(inv.result)
        evidence: dict[str, Any] = {}
        async with inv.phase("device_analysis"):
            async with asyncio.TaskGroup() as tg:
                tasks = [tg.create_task(fingerprint(d)) for d in ("d-1", "d-2")]
            evidence["devices"] = [t.result() for t in tasks]
        if ip is None:
            inv.skip_phase("network_analysis", "no IP on the alert")
        else:
            evidence |= await network(inv, ip)
        async with inv.phase("log_analysis"), agent("log_agent", model="small"):
            await asyncio.to_thread(search_logs, f"account:{account}")
        inv.report(tokens_used=800, cost_estimate=0.002)
        await inv.checkpoint({"evidence": evidence})
        inv.result = await verdict(evidence)
        inv.record("fraud.hypothesis", {"text": "SIM swap", "supports": evidence})
        u = inv.usage
        print(f"{u.tokens_used} tokens, ${u.cost_estimate}")  # noqa: T201
        return str(inv.result)


def helper_deep_down() -> None:
    if (inv := current_investigation()) is not None:
        inv.record("fraud.note", {"where": "deep"})


if __name__ == "__main__":
    try:
        print(asyncio.run(investigate(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)))  # noqa: T201
    except InvestigationPaused as stop:
        print("paused:", stop.investigation_id)  # noqa: T201
