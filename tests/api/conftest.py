"""The API in this process, over ASGI."""

from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
from fastapi import HTTPException
from starlette.requests import HTTPConnection

from investigation_sdk import InvestigationSDK, Principal, Role
from investigation_sdk.api import create_app

from .mounted import HOUR, Service


async def user(connection: HTTPConnection) -> Principal:
    """``Authorization: id role tenant``."""
    parts = connection.headers.get("authorization", "").split()
    if len(parts) != 3:
        raise HTTPException(401, "Say who you are.", {"WWW-Authenticate": "Bearer"})
    return Principal(id=parts[0], roles=frozenset({Role(parts[1])}), tenant_id=parts[2])


@pytest.fixture
def sdk(make_sdk: Callable[..., InvestigationSDK]) -> InvestigationSDK:
    return make_sdk("memory://")


@pytest.fixture
async def client(sdk: InvestigationSDK) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(sdk, authenticate=user)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"Authorization": "gil operator acme"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def service(sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]) -> Iterator[Service]:
    with Service(make_sdk(sqlite_url), heartbeat=HOUR).up() as up:
        yield up
