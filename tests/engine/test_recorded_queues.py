"""Which record a call takes: the first that is left of the same call, whatever way it was found out."""

from __future__ import annotations

import gc
import re
import sqlite3
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from investigation_sdk import InvestigationSDK, RecordUnreadable, tool
from investigation_sdk.engine.recorded import Recorded
from investigation_sdk.engine.records import Place, Record, comparable
from investigation_sdk.storage.codec import digest_of

_PLACES = (Place(None, None, "look_up", None), Place(None, "p", "look_up", None))
_TEXTS = (
    '{"a":1,"b":2}',
    '{"b":2,"a":1}',
    '{"a":{"x":1,"y":2},"b":2}',
    '{"b":2,"a":{"y":2,"x":1}}',
    '{"a":"x"}',
    '{"a":{"$type":"tuple","items":[1]}}',
    '{"a":{"$type":"masked"}}',
)
_MASKED = _TEXTS[-1]
_CALLS = st.tuples(
    st.sampled_from(_PLACES), st.sampled_from(_TEXTS), st.sampled_from([None, None, digest_of(_TEXTS[0]), "f" * 32])
)
_STATES = st.sampled_from(["finished", "finished", "finished", "raised", "undone", "open"])
_RANK = {"finished": 0, "undone": 2}


class _Model:
    """What is promised, looked for from the beginning each time."""

    def __init__(self, records: list[Record], digests: dict[str, str | None]) -> None:
        self.digests = digests
        self.left = sorted(records, key=lambda record: _RANK.get(record.state, 1))

    def take(self, place: Place, text: str, digest: str | None) -> Record | None:
        wanted = comparable(text, digest)
        for record in self.left:
            same = record.place == place and comparable(record.given, self.digests[record.root]) == wanted
            if same and (not wanted.startswith("{") or record.resolved):
                self.left.remove(record)
                return record
        return None


def _records(made: list[tuple[tuple[Place, str, str | None], str, bool]]) -> list[Record]:
    records: list[Record] = []
    for n, ((place, text, digest), state, resolved) in enumerate(made):
        record = Record(f"{n}", f"{n}", place, None, 1, text, digest)
        record.state = state  # type: ignore[assignment]
        record.resolved = resolved
        records.append(record)
    return records


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(_CALLS, _STATES, st.booleans()), max_size=12),
    st.lists(st.tuples(_CALLS, st.booleans(), st.booleans()), max_size=20),
)
def test_a_call_takes_what_the_model_takes(
    made: list[tuple[tuple[Place, str, str | None], str, bool]],
    calls: list[tuple[tuple[Place, str, str | None], bool, bool]],
) -> None:
    records = _records(made)
    digests = {f"{n}": digest for n, ((_, _, digest), _, _) in enumerate(made)}
    recorded, model = Recorded("i", records), _Model(records, digests)
    for (place, text, digest), broken_off, at_once in calls:
        expected = model.take(place, text, digest)
        found = None
        if at_once and digest is None:
            found = recorded.take(place, text, None, as_it_stands=True)
            assert found is None or found is expected
            assert found is None or found.as_it_stands
        found = found or recorded.take(place, text, digest)
        assert found is expected, (text, digest)
        if found is not None and broken_off:  # it is the first of its like again
            recorded.put_back(found)
            model.left.insert(0, found)
    assert {record.root for record in recorded.left()} == {record.root for record in model.left}


def test_in_the_same_order_no_digest_is_made() -> None:
    records = _records([((_PLACES[0], f'{{"n":{n}}}', None), "finished", False) for n in range(5)])
    recorded = Recorded("i", records)
    for n in range(5):
        assert recorded.any_at(_PLACES[0])
        assert recorded.take(_PLACES[0], f'{{"n":{n}}}', None) is records[n]
    assert [record._digest for record in records] == [None] * 5
    assert not recorded.any_at(_PLACES[0])


_INSIDE = Place("around", None, "look_up", None)


@pytest.mark.parametrize("place", [_PLACES[0], _INSIDE])
@pytest.mark.parametrize("order", [1, -1])
def test_what_was_given_back_is_not_kept(place: Place, order: int) -> None:
    texts = [f'{{"n":{n},"x":"{"a" * 10_000}"}}' for n in range(50)]
    records = _records([((place, text, None), "finished", False) for text in texts for _ in range(2)])
    recorded = Recorded("i", records)
    recorded.put_back(recorded.take(place, texts[-1], None) or records[0])
    del records
    gc.collect()
    before = _held(recorded)
    assert before > 50 * 10_000
    for text in texts[::order] * 2:
        taken = recorded.take(place, text, None)
        assert taken is not None
        recorded.settle(taken)
    assert (recorded.take(place, texts[0], None), recorded.any_at(place), len(recorded)) == (None, False, 0)
    assert _held(recorded) < 5000


def _held(found: object) -> int:
    """Bytes of all that can be reached from it, but for classes and modules."""
    seen: set[int] = set()
    left, size = [found], 0
    while left:
        one = left.pop()
        if id(one) not in seen and not isinstance(one, type | ModuleType):
            seen.add(id(one))
            size += sys.getsizeof(one)
            left += gc.get_referents(one)
    return size


@tool
def look_up(n: int) -> dict[str, int]:
    return {"found": n}


def _broken_off(path: Path) -> str:
    with (
        InvestigationSDK(f"sqlite:///{path}") as sdk,
        pytest.raises(KeyError),
        sdk.investigation("s", key="k") as investigation,
    ):
        look_up(1)
        raise KeyError
    return investigation.id


@pytest.mark.parametrize(
    ("event_type", "text", "becomes"),
    [("tool.completed", '{"found":1}', '{"found":1'), ("tool.started", '{"n":1}', '{"n":1,}')],
)
def test_what_is_no_json_is_told_when_it_is_needed(tmp_path: Path, event_type: str, text: str, becomes: str) -> None:
    id = _broken_off(tmp_path / "a.db")
    database = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    changed = database.execute(
        "UPDATE investigation_events SET event_data = replace(event_data, ?, ?) WHERE event_type = ?",
        (text, becomes, event_type),
    )
    assert changed.rowcount == 1
    database.close()
    with (
        InvestigationSDK(f"sqlite:///{tmp_path / 'a.db'}") as sdk,
        pytest.raises(RecordUnreadable, match=re.escape(f"sdk.verify({id!r})")),
        sdk.investigation("s", key="k"),
    ):
        look_up(1)
