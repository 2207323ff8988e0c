"""What tests of PostgreSQL ask of it, and how they open what is to be refused."""

import asyncio
from typing import Any

import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_sdk.errors import InvestigationError


async def until(connection: Any, question: str) -> Any:
    """Ask until there is an answer."""
    async with asyncio.timeout(30):
        while (answer := await connection.fetchval(question)) is None:  # noqa: ASYNC110 - it is another process's doing
            await asyncio.sleep(0.01)
        return answer


async def refused(error: type[InvestigationError], url: str, **options: Any) -> str:
    """What is said where a store cannot be opened; no password."""
    backend = PostgresBackend(url, **options)
    with pytest.raises(error) as caught:
        await backend.open()
    await backend.close()
    said = str(caught.value)
    assert "hunter2" not in said + repr(caught.value) + repr(caught.value.__cause__) + repr(backend)
    return said


def as_user(url: str, user: str, password: str = "") -> str:
    return url.replace("//postgres@", f"//{user}:{password}@" if password else f"//{user}@")
