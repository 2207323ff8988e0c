"""The queue: who takes up what is queued, and what was left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from investigation_sdk.ids import uuid7
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.commit import Lease, Wanted

from .building import Case
from .opening import ContractBase, OpenStore

_LONG = 60_000_000
_SHORT = 1_000
_FRAUD = Wanted(["fraud"])


def _in_hours(hours: float) -> int:
    """µs: far enough from the store's clock for any clock of a test."""
    return int((datetime.now(UTC) + timedelta(hours=hours)).timestamp() * 1_000_000)


async def _queued(backend: Backend, **fields: Any) -> Case:
    case = Case(**{"status": "queued", "claimable_at": 0, **fields})
    await case.apply(backend)
    return case


async def _taken(backend: Backend, wanted: Wanted, owners: int = 10, ttl: int = _LONG) -> list[str]:
    return _ids(await backend.claim_next(wanted, [f"o-{uuid7()}" for _ in range(owners)], ttl=ttl))


def _ids(leases: Sequence[Lease]) -> list[str]:
    return [lease.resource for lease in leases]


class QueueTests(ContractBase):
    """``claim_next``."""

    async def test_the_queue_is_taken_in_order(self, store: OpenStore) -> None:
        old, new = await _queued(store.a), await _queued(store.a)
        urgent, late = await _queued(store.a, priority=7), await _queued(store.a, priority=-1)
        first = await store.b.claim_next(_FRAUD, ["one", "two"], ttl=_LONG)
        assert [lease.owner for lease in first] == ["one", "two"], "one for each owner, in order"
        assert _ids(first) == [urgent.id, old.id]
        assert [lease.version for lease in first] == [1, 1]
        assert [await store.a.holder(lease.resource) for lease in first] == list(first)
        assert await _taken(store.a, _FRAUD) == [new.id, late.id]
        assert await _taken(store.a, _FRAUD) == [], "what is held is not taken"

    async def test_only_what_is_claimable_is_taken(self, store: OpenStore) -> None:
        await _queued(store.a, status="running", claimable_at=None)
        await _queued(store.a, claimable_at=_in_hours(1))
        due = await _queued(store.a, claimable_at=_in_hours(-1))
        assert await _taken(store.a, _FRAUD) == [due.id]

    async def test_what_becomes_claimable_is_taken(self, store: OpenStore) -> None:
        case = await _queued(store.a, status="paused", claimable_at=None)
        assert await _taken(store.a, _FRAUD) == []
        await case.apply(store.a, case.commit(claimable_at=0, resume_requested=1))
        assert await _taken(store.b, _FRAUD, ttl=_SHORT) == [case.id]
        await case.apply(store.b, case.commit(status="running", claimable_at=None, resume_requested=0))
        await asyncio.sleep(0.02)
        assert await _taken(store.a, _FRAUD) == []

    async def test_types_and_tenants_are_told_apart(self, store: OpenStore) -> None:
        mine = await _queued(store.a, tenant_id="me", investigation_type="fraud")
        theirs = await _queued(store.a, tenant_id="they", investigation_type="phishing")
        nobodys = await _queued(store.a, investigation_type="fraud")
        assert await _taken(store.a, Wanted([])) == []
        assert await _taken(store.a, Wanted(["other", "frau"])) == []
        assert await store.a.claim_next(_FRAUD, [], ttl=_LONG) == []
        assert await _taken(store.a, Wanted(["fraud", "phishing"], tenant_id="they")) == [theirs.id]
        assert await _taken(store.a, Wanted(["phishing", "fraud"], tenant_id="")) == [nobodys.id]
        assert await _taken(store.a, _FRAUD) == [mine.id]

    async def test_an_expired_lease_frees_it(self, store: OpenStore) -> None:
        case = await _queued(store.a)
        assert await _taken(store.a, _FRAUD, ttl=_SHORT) == [case.id]
        await asyncio.sleep(0.02)
        leases = await store.b.claim_next(_FRAUD, ["me"], ttl=_LONG)
        assert [(lease.resource, lease.owner) for lease in leases] == [(case.id, "me")]
        lease = leases[0]
        assert await store.a.holder(case.id) == lease
        assert await store.a.release(lease)
        assert await _taken(store.a, _FRAUD) == [case.id]

    async def test_what_was_left_is_taken(self, store: OpenStore) -> None:
        left = Wanted(["fraud"], left_in=["running", "completing"])
        case = await _queued(store.a, status="running", claimable_at=None, token=uuid7())
        held = await _queued(store.a, status="running", claimable_at=None, token=uuid7())
        await _queued(store.a, status="paused", claimable_at=None, token=uuid7())
        await _queued(store.a, status="running", claimable_at=0, token=None)
        await _queued(store.a, status="running", claimable_at=None, token=uuid7(), investigation_type="other")
        assert await store.a.claim(held.id, "who drives it", ttl=_LONG) is not None
        assert await store.a.claim(case.id, "who drove it", ttl=_SHORT) is not None
        await asyncio.sleep(0.02)
        assert await _taken(store.b, left) == [case.id]
        assert await _taken(store.b, left) == []

    async def test_a_long_queue_of_held_ones_hides_nothing(self, store: OpenStore) -> None:
        cases = [Case(status="queued", claimable_at=0) for _ in range(130)]
        await store.a.commit([case.commit() for case in cases])
        assert len(await _taken(store.a, _FRAUD, owners=120)) == 120
        assert await _taken(store.b, _FRAUD) == sorted(case.id for case in cases)[120:]

    async def test_each_goes_to_one_of_many(self, store: OpenStore) -> None:
        cases = [await _queued(store.a, priority=n % 3) for n in range(12)]
        taken: list[str] = []
        for _ in range(100):  # fewer may be answered where several take at the same moment
            tries = [_taken(store.a if n % 2 else store.b, _FRAUD, owners=2) for n in range(8)]
            taken += (id for found in await asyncio.gather(*tries) for id in found)
            if len(taken) >= len(cases):
                break
        assert sorted(taken) == sorted(case.id for case in cases)
