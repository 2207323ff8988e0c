"""The log as it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import SkipTest

from investigation_sdk.storage.backend import TextsBackend
from investigation_sdk.storage.commit import Kind, StoredEvent

from .building import Case, same
from .opening import ContractBase, OpenStore

_HARD_TEXTS = (
    '"a\\u0000b"',
    "''; DROP TABLE investigations; --",
    "%s %(a)s {0} ? :name $1",
    "caf\u00e9 cafe\u0301 \u05d0\u05d1 \u202e \ufeff \uffff \U0001f575\ufe0f",
    " \t\r\n two  blanks kept \r\n",
    '{"b": 1,   "a": 1e400, "a": NaN}',
    "",
)


_KINDS: tuple[Kind, ...] = ("investigation", "phase", "tool", "snapshot")


class EventTests(ContractBase):
    """Order, pages, filters, and every byte."""

    async def test_after_and_limit(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a, case.commit(*"abcdefghij"))
        await Case().apply(store.a)
        for after in (0, 1, 4, 9, 10, 11, 1000):
            for limit in (1, 3, 10, 1000):
                found = await store.a.read_events(case.id, after=after, limit=limit)
                assert list(found) == case.events[after : after + limit]
        assert list(await store.a.read_events(case.id, limit=0)) == []

    async def test_reverse(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a, case.commit(*"abcdefghij"))
        down = case.events[::-1]
        assert list(await store.a.read_events(case.id, reverse=True)) == down
        assert list(await store.a.read_events(case.id, reverse=True, limit=2)) == down[:2]
        for after in (1, 2, 10, 11, 50):
            wanted = [event for event in down if event.sequence < after]
            assert list(await store.a.read_events(case.id, after=after, reverse=True)) == wanted
            assert list(await store.a.read_events(case.id, after=after, reverse=True, limit=3)) == wanted[:3]

    async def test_what_events_say(self, store: OpenStore) -> None:
        backend = store.a
        if not isinstance(backend, TextsBackend):
            raise SkipTest("this backend reads whole events only")
        case = Case()
        await case.apply(backend, case.commit(*"abcabcabc"))
        await Case().apply(backend)
        for types in (["a"], ["c", "a"], ["no such type"]):
            for after in (0, 1, 4, 9):
                for limit in (1, 3, 1000):
                    events = await backend.read_events(case.id, after=after, limit=limit, event_type=types)
                    wanted = [(e.sequence, e.event_type, e.header, e.event_data) for e in events]
                    found = await backend.read_texts(case.id, after=after, limit=limit, event_type=types)
                    assert list(map(tuple, found)) == wanted
        for id in (Case().id, "no id", "\ud800"):
            assert list(await backend.read_texts(id, after=0, limit=10, event_type=["a"])) == []

    async def test_types(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a, case.commit(*"abcabcabc"))

        async def read(types: Sequence[str], **options: Any) -> list[int]:
            return [e.sequence for e in await store.a.read_events(case.id, event_type=types, **options)]

        assert await read(["b"]) == [2, 5, 8]
        assert await read(["c", "a"]) == [1, 3, 4, 6, 7, 9]
        assert await read(["a"], after=1, limit=1) == [4]
        assert await read(["a"], reverse=True, limit=2) == [7, 4]
        assert await read(["a"], reverse=True, after=7) == [4, 1]
        assert await read(["x"]) == []
        assert await read([]) == []

    async def test_a_text_is_one_type(self, store: OpenStore) -> None:
        case = Case()
        await case.apply(store.a, case.commit("a", "b", "ab", "a", "ab"))
        for text, wanted in (("ab", [3, 5]), ("a", [1, 4]), ("ba", []), ("", [])):
            for reverse in (False, True):
                found = await store.a.read_events(case.id, event_type=text, reverse=reverse)
                assert [e.sequence for e in found] == (wanted[::-1] if reverse else wanted), f"event_type={text!r}"

    async def test_pages_are_complete(self, store: OpenStore) -> None:
        case = Case()
        for size in (1, 700, 600):
            await case.apply(store.a, case.commit(*["note.recorded"] * size))
        found: list[StoredEvent] = []
        while page := await store.a.read_events(case.id, after=len(found), limit=500):
            found += page
        assert found == case.events
        assert len(await store.a.read_events(case.id)) == 1000, "a page has 1000 events unless told otherwise"

    async def test_an_id_that_is_not_there(self, store: OpenStore) -> None:
        await Case().apply(store.a)
        for id in (Case().id, "", "no id at all", "'; --", "\x00", "\u00e9", "\ud800"):
            assert list(await store.a.read_events(id)) == []
            assert await store.a.read_snapshot(id) is None
            for kind in _KINDS:
                assert await store.a.get(kind, id) is None

    async def test_text_is_kept_byte_for_byte(self, store: OpenStore) -> None:
        for text in _HARD_TEXTS:
            case = Case(subject=text, user_id=text, key=text + "k")
            commit = case.commit("a", data=text, rows=[case.tool(error_message=text, tool_name=text)])
            commit.events = [commit.events[0]._replace(header=text, actor=text, metadata=text)]
            await case.apply(store.a, commit)
            assert list(await store.a.read_events(case.id)) == list(commit.events)
            assert same(await store.a.get("investigation", case.id), commit.rows[0])
            assert same(await store.a.get("tool", commit.rows[1].id), commit.rows[1])

    async def test_a_large_payload(self, store: OpenStore) -> None:
        case = Case()
        data = '"' + "x\u00e9\U0001f575\\u0000" * 130_000 + '"'
        await case.apply(store.a, case.commit(data=data))
        (event,) = await store.a.read_events(case.id)
        assert event.event_data == data

    async def test_every_byte_of_a_hash(self, store: OpenStore) -> None:
        case = Case()
        for start in range(0, 256, 32):
            head = bytes(range(start, start + 32))
            commit = case.commit(head=head)
            commit.events = [commit.events[0]._replace(hash=head)]
            await case.apply(store.a, commit)
            assert await store.a.get("investigation", case.id) == case.row
            assert [event.hash for event in await store.a.read_events(case.id)] == [e.hash for e in case.events]
