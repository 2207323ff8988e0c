"""Blobs: payloads that stand beside the log, and come and go with their commit and their investigation."""

from __future__ import annotations

import random
from typing import Final

from investigation_sdk.storage.commit import CHUNK_BYTES, CommitStatus

from .building import Case, blob, blob_data, check_blob
from .opening import ContractBase, OpenStore, statuses

_ALL_BYTES: Final = bytes(range(256))


def _data(size: int) -> bytes:
    """Bytes that no two chunks have in common."""
    return random.Random(size).randbytes(size)  # noqa: S311 - test data


class BlobTests(ContractBase):
    """``Commit.blobs`` and ``read_blob``."""

    async def test_every_byte_of_a_blob(self, store: OpenStore) -> None:
        sizes = (1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 17)
        blobs = [blob(_ALL_BYTES), blob(b"\0" * 1000), *(blob(_data(size)) for size in sizes)]
        case = Case()
        await case.apply(store.a, case.commit(blobs=blobs))
        for handle in (store.a, store.b):
            for one in blobs:
                await check_blob(handle, case.id, one)

    async def test_a_large_blob_comes_in_order_and_in_pieces(self, store: OpenStore) -> None:
        large = blob(_data(20 * CHUNK_BYTES + 3))
        case = Case()
        await case.apply(store.a, case.commit(blobs=[large]))
        backend = await store.reopen()
        await check_blob(backend, case.id, large)

    async def test_blobs_come_with_later_commits_too(self, store: OpenStore) -> None:
        case = Case()
        blobs = [blob(_data(size)) for size in (10, 20, 30)]
        await case.apply(store.a)
        for one in blobs:
            await case.apply(store.a, case.commit(blobs=[one], rows=[case.tool()]))
        for one in blobs:
            await check_blob(store.b, case.id, one)

    async def test_what_is_not_there_has_no_pieces(self, store: OpenStore) -> None:
        case, there = Case(), blob(b"there")
        await case.apply(store.a, case.commit(blobs=[there]))
        for id in (case.id, Case().id, "", "\x00", "\ud800"):
            for digest in (blob(b"other").digest, there.digest.upper(), "", "%", "'; --", "\x00", "\ud800"):
                assert await blob_data(store.a, id, digest) == b""

    async def test_another_investigation_s_blob_is_not_given(self, store: OpenStore) -> None:
        mine, yours, secret = Case(tenant_id="acme"), Case(tenant_id="other"), blob(b"secret")
        await mine.apply(store.a, mine.commit(blobs=[secret]))
        await yours.apply(store.a)
        assert await blob_data(store.a, yours.id, secret.digest) == b""
        await yours.apply(store.a, yours.commit(blobs=[secret]))
        assert await store.a.delete([(mine.id, 1)]) == 1
        assert await blob_data(store.a, mine.id, secret.digest) == b""
        assert await blob_data(store.a, yours.id, secret.digest) == b"secret"

    async def test_the_same_blob_twice(self, store: OpenStore) -> None:
        same = blob(_data(2 * CHUNK_BYTES + 5))
        case = Case()
        await case.apply(store.a, case.commit("a", "b", blobs=[same, blob(b"x"), same]))
        await case.apply(store.b, case.commit(blobs=[same, blob(b"y")]))
        for one in (same, blob(b"x"), blob(b"y")):
            await check_blob(store.a, case.id, one)

    async def test_a_commit_that_loses_leaves_no_blob(self, store: OpenStore) -> None:
        case, lost = Case(), blob(_data(CHUNK_BYTES + 1))
        await case.apply(store.a)
        stale = case.commit(blobs=[lost])
        await case.apply(store.b)
        assert statuses(await store.a.commit([stale])) == [CommitStatus.CONFLICT]
        other = Case(key="case-1")
        await other.apply(store.a)
        late = Case(key="case-1")
        assert statuses(await store.a.commit([late.commit(blobs=[lost])])) == [CommitStatus.CONSTRAINT]
        for id in (case.id, late.id):
            assert await blob_data(store.a, id, lost.digest) == b""

    async def test_sent_again_a_commit_leaves_its_blob_as_it_is(self, store: OpenStore) -> None:
        case, one = Case(), blob(_data(CHUNK_BYTES * 2))
        commit = await case.apply(store.a, case.commit(blobs=[one]))
        assert statuses(await store.a.commit([commit])) == [CommitStatus.CONFLICT]
        await check_blob(store.a, case.id, one)

    async def test_neighbours_keep_their_blobs(self, store: OpenStore) -> None:
        cases = [Case() for _ in range(5)]
        for case in cases:
            await case.apply(store.a)
        batch = [case.commit(blobs=[blob(case.id.encode())], rows=[case.tool()]) for case in cases]
        batch[2].expected_head = bytes(32)
        results = statuses(await store.a.commit(batch))
        assert results == [CommitStatus.CONFLICT if n == 2 else CommitStatus.APPLIED for n in range(5)]
        found = [await blob_data(store.b, case.id, blob(case.id.encode()).digest) for case in cases]
        assert found == [b"" if n == 2 else case.id.encode() for n, case in enumerate(cases)]

    async def test_blobs_go_with_their_investigation(self, store: OpenStore) -> None:
        case, large = Case(), blob(_data(3 * CHUNK_BYTES))
        await case.apply(store.a, case.commit(blobs=[large]))
        assert await store.a.delete([(case.id, 2)]) == 0
        await check_blob(store.a, case.id, large)
        assert await store.a.delete([(case.id, 1)]) == 1
        assert await blob_data(store.a, case.id, large.digest) == b""
        assert await blob_data(store.b, case.id, large.digest) == b""

    async def test_a_blob_is_read_while_others_write(self, store: OpenStore) -> None:
        case, large = Case(), blob(_data(4 * CHUNK_BYTES))
        await case.apply(store.a, case.commit(blobs=[large]))
        found = b""
        async for chunk in store.a.read_blob(case.id, large.digest):
            found += chunk
            await case.apply(store.b, case.commit(blobs=[blob(found)]))
        same = found == large.data
        assert same

    async def test_deleted_while_it_is_read(self, store: OpenStore) -> None:
        case, large = Case(), blob(_data(4 * CHUNK_BYTES))
        await case.apply(store.a, case.commit(blobs=[large]))
        pieces = store.a.read_blob(case.id, large.digest)
        found = await anext(pieces)
        await case.apply(store.a)
        assert await store.a.delete([(case.id, 2)]) == 1
        async for piece in pieces:
            found += piece
        assert large.data.startswith(found), "what was read while it was deleted is not its beginning"
