"""Leases: who may try, by the store's clock."""

from __future__ import annotations

import asyncio

from investigation_sdk.errors import InvalidArgument
from investigation_sdk.storage.commit import Lease, Wanted

from .building import Case
from .opening import ContractBase, OpenStore, refused

_LONG = 60_000_000
_SHORT = 1_000


async def _expired() -> None:
    """Until a lease of `_SHORT` µs is over for certain."""
    await asyncio.sleep(0.02)


class LeaseTests(ContractBase):
    """``claim``, ``holder``, ``renew``, ``release``."""

    async def test_one_owner_at_a_time(self, store: OpenStore) -> None:
        lease = await store.a.claim("case", "me", ttl=_LONG)
        assert lease is not None
        assert (lease.resource, lease.owner, lease.version) == ("case", "me", None)
        assert await store.a.claim("case", "other", ttl=_LONG) is None
        assert await store.b.claim("case", "other", ttl=_LONG) is None
        assert await store.a.holder("case") == lease
        assert await store.b.holder("case") == lease
        assert await store.a.claim("another", "other", ttl=_LONG) is not None

    async def test_the_owner_may_claim_again(self, store: OpenStore) -> None:
        first = await store.a.claim("case", "me", ttl=_LONG)
        second = await store.b.claim("case", "me", ttl=2 * _LONG)
        assert first is not None
        assert second is not None
        assert second.expires_at > first.expires_at

    async def test_expired_is_free(self, store: OpenStore) -> None:
        assert await store.a.claim("case", "me", ttl=_SHORT) is not None
        await _expired()
        held = await store.a.holder("case")
        assert held is not None, "an expired lease that nobody took is still there"
        assert held.owner == "me"
        taken = await store.b.claim("case", "other", ttl=_LONG)
        assert taken is not None
        assert taken.owner == "other"
        assert await store.a.claim("case", "me", ttl=_LONG) is None

    async def test_of_many_that_try_one_wins(self, store: OpenStore) -> None:
        for resource in ("new", "expired"):
            if resource == "expired":
                await store.a.claim(resource, "before", ttl=_SHORT)
                await _expired()
            tries = [(store.a if n % 2 else store.b).claim(resource, f"owner-{n}", ttl=_LONG) for n in range(8)]
            won = [lease for lease in await asyncio.gather(*tries) if lease is not None]
            assert len(won) == 1
            assert await store.a.holder(resource) == won[0]

    async def test_a_lease_tells_the_version(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a, case.commit(*"abc"))
        lease = await store.a.claim(case.id, "me", ttl=_LONG)
        assert lease is not None
        assert lease.version == 3
        await case.apply(store.b)
        held = await store.a.holder(case.id)
        assert held is not None
        assert held.version == 4
        await case.apply(store.a)
        (renewed,) = await store.b.renew([lease], ttl=_LONG)
        assert renewed is not None
        assert renewed.version == 5

    async def test_commits_leave_leases_alone(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a)
        before = await store.a.claim(case.id, "me", ttl=_LONG)
        assert before is not None
        await case.apply(store.b, case.commit(owner="other", token=None))
        await store.b.put_rows([case.row])
        after = await store.a.holder(case.id)
        assert after == before._replace(version=2)

    async def test_renewing_extends(self, store: OpenStore) -> None:
        mine = [await store.a.claim(f"case-{n}", "me", ttl=_LONG) for n in range(3)]
        leases = [lease for lease in mine if lease is not None]
        assert await store.a.release(leases[1])
        assert await store.b.claim("case-1", "other", ttl=_LONG) is not None
        renewed = list(await store.a.renew([*leases, Lease("never", "me", 0)], ttl=3 * _LONG))
        assert renewed[1] is None
        assert renewed[3] is None
        for old, new in ((leases[0], renewed[0]), (leases[2], renewed[2])):
            assert new is not None
            assert (new.resource, new.owner) == (old.resource, "me")
            assert new.expires_at > old.expires_at + _LONG
            assert await store.b.holder(old.resource) == new
        assert list(await store.a.renew([], ttl=_LONG)) == []

    async def test_an_expired_lease_that_nobody_took_is_renewed(self, store: OpenStore) -> None:
        lease = await store.a.claim("case", "me", ttl=_SHORT)
        assert lease is not None
        await _expired()
        (renewed,) = await store.a.renew([lease], ttl=_LONG)
        assert renewed is not None
        assert await store.b.claim("case", "other", ttl=_LONG) is None

    async def test_a_lost_lease_is_not_renewed(self, store: OpenStore) -> None:
        lease = await store.a.claim("case", "me", ttl=_SHORT)
        assert lease is not None
        await _expired()
        taken = await store.b.claim("case", "other", ttl=_LONG)
        assert list(await store.a.renew([lease], ttl=3 * _LONG)) == [None]
        assert await store.a.holder("case") == taken

    async def test_only_its_owner_releases(self, store: OpenStore) -> None:
        lease = await store.a.claim("case", "me", ttl=_LONG)
        assert lease is not None
        assert await store.b.release(lease._replace(owner="other")) is False
        assert await store.a.holder("case") == lease
        assert await store.b.release(lease) is True
        assert await store.a.release(lease) is False
        assert await store.a.holder("case") is None
        assert await store.b.claim("case", "other", ttl=_LONG) is not None

    async def test_names_that_not_every_store_can_keep_are_refused(self, store: OpenStore) -> None:
        """Alike by each: or what runs on one store fails on another."""
        wanted = Wanted(types=("audit",), tenant_id=None, left_in=())
        for name in ("a\0b", "\0", "\ud800", "x\udfff", "\udc00\ud83d"):
            for lease in (Lease(name, "me", 0), Lease("case", name, 0)):
                for call in (
                    store.a.claim(lease.resource, lease.owner, ttl=_LONG),
                    store.a.renew([Lease("other", "me", 0), lease], ttl=_LONG),
                    store.a.release(lease),
                ):
                    await refused(call, f"a lease of {lease[:2]!a}", InvalidArgument)
            await refused(store.a.holder(name), f"the resource {name!a}", InvalidArgument)
            await refused(store.a.claim_next(wanted, ["me", name], ttl=_LONG), f"the owner {name!a}", InvalidArgument)
        for name in ("", "'; --", "%", "$owner", "a.b", "\u00e9\U0001f600", "x" * 1000):
            taken = await store.a.claim(f"case {name}", name, ttl=_LONG)
            assert taken is not None
            assert await store.b.holder(f"case {name}") == taken
            assert await store.b.release(taken) is True
        assert await store.b.holder("case") is None

    async def test_leases_survive_reopening(self, store: OpenStore) -> None:
        lease = await store.a.claim("case", "me", ttl=_LONG)
        backend = await store.reopen()
        assert await backend.holder("case") == lease
        assert await backend.claim("case", "other", ttl=_LONG) is None
