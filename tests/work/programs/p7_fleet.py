"""A worker fleet, without the engine: handlers, who submits, who is told of failures, who looks at it now."""

import os
from datetime import timedelta

from investigation_sdk import (
    AsyncInvestigationRun,
    Durability,
    Investigation,
    InvestigationEvent,
    InvestigationRun,
    InvestigationSDK,
    InvestigationState,
    tool,
)

sdk = InvestigationSDK(
    os.environ["FLEET_URL"], durability=Durability.SYNC, lease_ttl=timedelta(seconds=30), on_pause="raise"
)


@tool(cache=timedelta(hours=1), effect="read")
def whois(domain: str) -> str:
    return "x"


@sdk.investigator("phishing", max_recoveries=3, timeout=timedelta(minutes=20))
def phishing(inv: InvestigationRun) -> str:
    with inv.phase("whois"):
        return whois(str(inv.configuration["domain"]))


@sdk.investigator("account_takeover")
async def ato(inv: AsyncInvestigationRun) -> None:
    async with inv.phase("a"):
        pass


@sdk.service.on_state(InvestigationState.FAILED)
async def page_somebody(investigation: Investigation, event: InvestigationEvent) -> None:
    print(investigation.subject, investigation.failure_kind, event.actor)


def produce() -> str:
    given = {"domain": "evil.example"}
    return sdk.sync.submit("phishing", "mail 17", user_id="gil", key="mail-17", configuration=given).id


def report_now(id: str) -> int:
    for e in sdk.sync.iter_events(id):
        print(e.sequence)
    return sdk.sync.tracker.calculate_progress(id).overall_progress


if __name__ == "__main__":
    sdk.worker(concurrency=50).run()
