"""An investigation is steered over HTTP through all of its life, and each command is recorded with who gave it."""

import asyncio
from typing import Any

import httpx
import pytest

from investigation_sdk import InvestigationSDK, InvestigationState, tool

NEW = {"investigation_type": "fraud", "subject": "account 42", "user_id": "ana"}
STATES = [
    ("gil", "created"),
    ("gil", "queued"),
    (None, "initializing"),
    (None, "running"),
    ("gil", "paused"),
    ("gil", "running"),
    (None, "failed"),
    ("gil", "retrying"),
    ("root", "failed"),
    ("gil", "cancelled"),
]


@tool
async def step() -> int:
    return 1


async def commanded(client: httpx.AsyncClient, path: str, **more: Any) -> dict[str, Any]:
    answer = await client.post(path, **more)
    assert answer.status_code in (200, 202), answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_each_command_does_what_it_says_and_names_who_gave_it(
    sdk: InvestigationSDK, client: httpx.AsyncClient
) -> None:
    made = await commanded(client, "/investigations", json=NEW)
    path = f"/investigation/{made['id']}"
    with pytest.raises(OSError, match="the end"):
        async with sdk.attach(made["id"]):
            await step()
            assert (await commanded(client, f"{path}/pause?reason=lunch"))["status"] == "paused"
            waiting = asyncio.create_task(step())  # at its boundary
            assert (await client.get(f"{path}/progress")).json()["status"] == "paused"
            assert (await commanded(client, f"{path}/resume?reason=coffee"))["status"] == "running"
            assert await asyncio.wait_for(waiting, 60) == 1
            raise OSError("the end")
    failed = (await client.get(path)).json()
    assert (failed["status"], failed["error_message"]) == ("failed", "OSError: the end")
    assert (await commanded(client, f"{path}/retry?reason=again"))["status"] == "retrying"
    admin = {"Authorization": "root admin acme"}
    last = await commanded(client, f"{path}/transition?new_state=failed&reason=by+hand", headers=admin)
    assert (last["status"], last["allowed"]) == ("failed", ["retrying", "cancelled"])
    assert (await commanded(client, f"{path}/cancel?reason=for+good"))["status"] == "cancelled"
    events = (await client.get(f"{path}/events?limit=1000")).json()
    changes = [(event["actor"], event["new_state"]) for event in events if event["new_state"] is not None]
    assert changes == STATES
    said = " ".join(str(event["event_data"]) for event in events)
    for reason in ("lunch", "coffee", "again", "by hand", "for good"):
        assert reason in said
    assert (await sdk.verify(made["id"])).ok
    assert (await sdk.get(made["id"])).status == InvestigationState.CANCELLED
