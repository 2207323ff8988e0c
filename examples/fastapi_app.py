"""A service of one's own that investigates accounts, with the SDK's HTTP API mounted under a prefix.

Run it: uvicorn --app-dir examples fastapi_app:app
Tokens, for ``Authorization: Bearer …``, are those of INVESTIGATION_EXAMPLE_TOKENS: ``token=name:role``, by commas.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from starlette.requests import HTTPConnection

from investigation_sdk import (
    AsyncInvestigationRun,
    Investigation,
    InvestigationSDK,
    InvestigationWebSocketManager,
    Principal,
    Role,
    tool,
)
from investigation_sdk.api import create_router

sdk = InvestigationSDK()


@tool(agent="device_agent", effect="read")
async def devices_of(account: str) -> list[str]:
    """The devices that an account was used from."""
    return [f"{account}-phone", f"{account}-laptop"]


@sdk.investigator("account_takeover", phases=["devices"])
async def account_takeover(run: AsyncInvestigationRun) -> dict[str, int]:
    """What the worker runs."""
    async with run.phase("devices"):
        return {"devices": len(await devices_of(str(run.configuration["account"])))}


def principals() -> dict[str, Principal]:
    """Who has which token."""
    given = [entry.partition("=") for entry in os.environ.get("INVESTIGATION_EXAMPLE_TOKENS", "").split(",") if entry]
    named = [(token, who.partition(":")) for token, _, who in given]
    return {token: Principal(id=name, roles=frozenset({Role(role)})) for token, (name, _, role) in named}


async def current_user(connection: HTTPConnection) -> Principal:
    """The authentication of this service; the mounted API uses it, too, and so do its WebSockets."""
    token = connection.headers.get("authorization", "").removeprefix("Bearer ")
    user = principals().get(token)
    if user is None:
        raise HTTPException(401, "Give a token.", {"WWW-Authenticate": "Bearer"})
    return user


async def who_it_is_now(user: Principal) -> Principal | None:
    """Asked while somebody watches, whose token may be withdrawn meanwhile."""
    return next((known for known in principals().values() if known.id == user.id), None)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    """The store is open, and a worker works, while the service runs."""
    async with sdk, sdk.worker(concurrency=20):
        yield


app = FastAPI(title="Accounts", lifespan=lifespan)
rooms = InvestigationWebSocketManager(sdk, recheck=who_it_is_now)
app.include_router(create_router(sdk, authenticate=current_user, rooms=rooms), prefix="/fraud")


@app.post("/alerts/{account}", status_code=202)
async def alert(account: str, user: Annotated[Principal, Depends(current_user)]) -> Investigation:
    """An endpoint of one's own: an account looks taken over."""
    mine = sdk.as_principal(user)
    return await mine.submit("account_takeover", f"account {account}", key=account, configuration={"account": account})
