"""Bugs to plant in the store in memory: leases, and the queue of what can be taken."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from investigation_backends import memory_queries, memory_store
from investigation_backends.memory import MemoryBackend
from investigation_backends.memory_store import MemoryStore
from investigation_sdk.storage.commit import Lease

Patch = pytest.MonkeyPatch


def claim_ignores_the_holder(patch: Patch) -> None:
    async def claim(self: MemoryBackend, resource: str, owner: str, *, ttl: int) -> Lease | None:
        return memory_store.take(self.store, resource, owner, memory_store.now() + ttl)

    patch.setattr(MemoryBackend, "claim", claim)


def claim_waits_between_looking_and_taking(patch: Patch) -> None:
    claim = MemoryBackend.claim

    async def slow(self: MemoryBackend, resource: str, owner: str, *, ttl: int) -> Lease | None:
        held = self.store.leases.get(resource)
        await asyncio.sleep(0)
        if held is None or held.expires_at <= memory_store.now():
            return memory_store.take(self.store, resource, owner, memory_store.now() + ttl)
        return await claim(self, resource, owner, ttl=ttl)

    patch.setattr(MemoryBackend, "claim", slow)


def _queues(patch: Patch, queue: Callable[[Any, Any, Any, int], Any]) -> None:
    patch.setattr(memory_queries, "queue", queue)


_queue = memory_queries.queue


def the_queue_is_a_stack(patch: Patch) -> None:
    _queues(patch, lambda *given: _queue(*given)[::-1])


def the_queue_forgets_priorities(patch: Patch) -> None:
    _queues(patch, lambda *given: sorted(_queue(*given), key=lambda row: row.id))


def the_queue_ignores_leases(patch: Patch) -> None:
    _queues(patch, lambda rows, leases, wanted, now: _queue(rows, {}, wanted, now))


def expired_leases_hold(patch: Patch) -> None:
    _queues(
        patch, lambda rows, leases, wanted, now: [r for r in _queue(rows, leases, wanted, now) if r.id not in leases]
    )


def the_queue_is_early(patch: Patch) -> None:
    _queues(patch, lambda rows, leases, wanted, now: _queue(rows, leases, wanted, now + 2 * 3600 * 10**6))


def the_queue_mixes_tenants(patch: Patch) -> None:
    _queues(patch, lambda rows, leases, wanted, now: _queue(rows, leases, wanted._replace(tenant_id=None), now))


def what_was_left_is_queued(patch: Patch) -> None:
    def mixed(rows: Any, leases: Any, wanted: Any, now: int) -> Any:
        everything = list(rows)
        left = _queue(everything, leases, wanted._replace(left_in=("running",)), now)
        return left + _queue(everything, leases, wanted._replace(left_in=()), now)

    _queues(patch, mixed)


def lost_leases_are_renewed(patch: Patch) -> None:
    patch.setattr(memory_store, "holds", lambda store, lease: lease.resource in store.leases)


def expired_leases_are_not_renewed(patch: Patch) -> None:
    holds = memory_store.holds
    patch.setattr(
        memory_store,
        "holds",
        lambda store, lease: holds(store, lease) and store.leases[lease.resource].expires_at > memory_store.now(),
    )


def commits_end_leases(patch: Patch) -> None:
    put_head = memory_store._put_head

    def ending(store: MemoryStore, file: Any, row: Any) -> None:
        put_head(store, file, row)
        store.leases.pop(row.id, None)

    patch.setattr(memory_store, "_put_head", ending)


BUGS = [
    (claim_ignores_the_holder, "test_one_owner_at_a_time"),
    (claim_waits_between_looking_and_taking, "test_of_many_that_try_one_wins"),
    (the_queue_is_a_stack, "test_the_queue_is_taken_in_order"),
    (the_queue_forgets_priorities, "test_the_queue_is_taken_in_order"),
    (the_queue_ignores_leases, "test_each_goes_to_one_of_many"),
    (expired_leases_hold, "test_an_expired_lease_frees_it"),
    (the_queue_is_early, "test_only_what_is_claimable_is_taken"),
    (the_queue_mixes_tenants, "test_types_and_tenants_are_told_apart"),
    (what_was_left_is_queued, "test_what_was_left_is_taken"),
    (lost_leases_are_renewed, "test_a_lost_lease_is_not_renewed"),
    (expired_leases_are_not_renewed, "test_an_expired_lease_that_nobody_took_is_renewed"),
    (commits_end_leases, "test_commits_leave_leases_alone"),
]
