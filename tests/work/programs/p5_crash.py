"""(5) Crash and resume: an unsafe tool and an idempotent one."""

import httpx

from investigation_sdk import Effect, InvestigationSDK, NotRecorded, Resolution, UnknownOutcome, current_tool, tool

sdk = InvestigationSDK("sqlite:///fraud.db")


async def is_frozen(account_id: str, reason: str) -> Resolution:
    async with httpx.AsyncClient() as c:
        frozen = (await c.get(f"https://bank/accounts/{account_id}")).json()["frozen"]
    return Resolution(outcome="succeeded", result={"frozen": True}) if frozen else Resolution(outcome="not_executed")


@tool(effect="unsafe", identity=["account_id"], reconcile=is_frozen)
async def freeze_account(account_id: str, reason: str) -> dict[str, bool]:
    async with httpx.AsyncClient() as c:
        await c.post(f"https://bank/accounts/{account_id}/freeze", json={"reason": reason})
    return {"frozen": True}


@tool(effect=Effect.IDEMPOTENT)
async def open_ticket(title: str) -> str:
    async with httpx.AsyncClient() as c:
        r = await c.post(
            "https://tickets", json={"title": title}, headers={"Idempotency-Key": current_tool().idempotency_key}
        )
    return str(r.json()["id"])


async def main(account: str) -> None:
    try:
        async with sdk.investigation(f"account {account}", key=account) as inv:
            if inv.finished:
                return
            async with inv.phase("contain") as p:
                if p.completed_before:
                    ticket = str(p.previous_output)
                else:
                    ticket = p.output_data = await open_ticket(f"freeze {account}")
                    await freeze_account(account, f"see {ticket}")
            inv.result = ticket
    except UnknownOutcome as u:
        print(f"investigate resolve {u.call_id} --outcome succeeded|failed|not_executed")
    except NotRecorded as n:
        print("the bank answered", n.value, "but the store did not take it")


async def operator_resolves(call_id: str) -> None:
    call = await sdk.service.resolve(
        call_id, Resolution(outcome="succeeded", result={"frozen": True}, reason="phoned the bank"), actor="ann"
    )
    await sdk.service.resume(call.investigation_id, actor="ann")
