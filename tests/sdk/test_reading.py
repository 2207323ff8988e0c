"""The reading side: get, find, list, phases, tools, events, iter_events, verify."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_sdk import (
    Effect,
    InvestigationError,
    InvestigationNotFound,
    InvestigationSDK,
    InvestigationState,
    Page,
    ToolState,
    current_tool,
    tool,
)
from investigation_sdk.domain.rows import InvestigationRow, PhaseRow
from investigation_sdk.storage.commit import Query, Where

UNKNOWN = "01900000-0000-7000-8000-000000000000"


@tool
def look(n: int) -> int:
    return n


@tool(agent="second", effect="read")
def fail(n: int) -> int:
    raise OSError(n)


async def made(sdk: InvestigationSDK, subject: str, **options: Any) -> str:
    async with sdk.investigation(subject, **options) as investigation:
        pass
    return investigation.id


async def everything(read: Callable[..., Any], **options: Any) -> list[Any]:
    """All pages of a list, each of a size of two."""
    found: list[Any] = []
    after: Any = {}
    while True:
        page = await read(**options, **after, limit=2)
        assert isinstance(page, Page)
        assert len(page) <= 2
        found += page
        if page.next is None:
            return found
        assert len(page) == 2
        after = {"after": page.next}


async def test_get_takes_ids_of_any_form(sdk: InvestigationSDK) -> None:
    id = await made(sdk, "one", user_id="gil", metadata={"a": [1]}, configuration={"model": "x"})
    for given in (id, id.upper(), UUID(id), id.replace("-", "")):
        record = await sdk.get(given)
        assert (record.id, record.subject, record.user_id) == (id, "one", "gil")
    record = await sdk.get(id)
    assert (record.metadata, record.configuration, record.tenant_id) == ({"a": [1]}, {"model": "x"}, None)
    assert record.created_at.tzinfo is UTC
    assert record.version == len(await sdk.events(id))
    with pytest.raises(InvestigationNotFound, match=r"'not-an-id' is not an id .* For a key, use sdk.find"):
        await sdk.get("not-an-id")


async def test_find_gives_the_newest_of_a_key(sdk: InvestigationSDK) -> None:
    first = await made(sdk, "first", key="case-1")
    other = await made(sdk, "other", key="case-1", investigation_type="fraud")
    second = await made(sdk, "second", key="case-1", on_finished="new")
    found = [await sdk.find(key="case-1"), await sdk.find(key="case-1", investigation_type="fraud")]
    assert [f and f.id for f in found] == [second, other]
    assert first != second
    assert await sdk.find(key="case-2") is None
    assert await sdk.find(key="case-1", investigation_type="unknown") is None


async def test_list_filters_and_pages(sdk: InvestigationSDK) -> None:
    ids = [await made(sdk, f"i{n}", user_id=f"u{n % 2}", investigation_type=f"t{n % 3}") for n in range(7)]
    queued = await sdk.service.create_investigation("u0", "waiting", "t0")
    newest_first = [queued.id, *reversed(ids)]
    assert [i.id for i in await everything(sdk.list)] == newest_first
    assert [i.id for i in await sdk.list(user_id="u1")] == [ids[5], ids[3], ids[1]]
    assert [i.id for i in await sdk.list(investigation_type="t1")] == [ids[4], ids[1]]
    assert [i.id for i in await everything(sdk.list, status="completed")] == newest_first[1:]
    assert [i.id for i in await sdk.list(status=InvestigationState.QUEUED)] == [queued.id]
    assert len(await sdk.list(status=[InvestigationState.QUEUED, InvestigationState.COMPLETED])) == 8
    assert len(await sdk.list(status=[])) == 0
    assert len(await sdk.list(user_id="u1", investigation_type="t0")) == 1
    page = await sdk.list(limit=3)
    assert (len(page), page[0].id, [i.id for i in page[1:]]) == (3, queued.id, [ids[6], ids[5]])
    assert page.next == ids[5]


async def test_list_between_moments(sdk: InvestigationSDK) -> None:
    before = datetime.now(UTC)
    id = await made(sdk, "now")
    assert [i.id for i in await sdk.list(since=before - timedelta(milliseconds=5))] == [id]
    assert [i.id for i in await sdk.list(since=timedelta(minutes=1))] == [id]
    assert len(await sdk.list(until=before - timedelta(milliseconds=5))) == 0
    assert len(await sdk.list(since=before + timedelta(minutes=1))) == 0
    assert len(await sdk.list(until=timedelta(minutes=1))) == 0
    with pytest.raises(ValueError, match="is not a datetime with a time zone"):
        await sdk.list(since=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_pages_have_a_size(sdk: InvestigationSDK, limit: int) -> None:
    for read in (sdk.list(limit=limit), sdk.tools(UNKNOWN, limit=limit), sdk.events(UNKNOWN, limit=limit)):
        with pytest.raises(ValueError, match=f"limit={limit} is not from 1 to 1000"):
            await read


async def test_mistyped_filters_are_refused(sdk: InvestigationSDK) -> None:
    id = await made(sdk, "x")
    with pytest.raises(ValueError, match=r"status='runing' is not one of .*'running'"):
        await sdk.list(status="runing")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"status='done' is not one of 'running', 'completed'"):
        await sdk.tools(id, status=["completed", "done"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"effect='reed' is not one of 'read'"):
        await sdk.tools(id, effect="reed")  # type: ignore[arg-type]


async def test_tools_filters_and_pages(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("tools") as first:
        look(0)
        async with first.phase("p"):
            look(1)
            with pytest.raises(OSError, match="2"):
                fail(2)
        async with first.phase("q"):
            look(3)
            current_tool()
    async with sdk.investigation("more") as second:
        look(4)

    def numbers(calls: Any) -> list[int]:
        return [c.input_parameters["n"] for c in calls]

    assert numbers(await everything(sdk.tools, investigation_id=first.id)) == [0, 1, 2, 3]
    assert numbers(await sdk.tools(first.id, tool="look")) == [0, 1, 3]
    assert numbers(await sdk.tools(first.id, agent="second")) == [2]
    assert numbers(await sdk.tools(first.id, phase="p")) == [1, 2]
    assert numbers(await sdk.tools(first.id, phase="p", status=ToolState.FAILED)) == [2]
    assert numbers(await sdk.tools(first.id, phase="never")) == []
    assert numbers(await sdk.tools(first.id, effect=Effect.READ)) == [2]
    assert numbers(await sdk.tools(first.id, status=[ToolState.FAILED, ToolState.COMPLETED])) == [0, 1, 2, 3]
    assert numbers(await sdk.tools(first.id, since=timedelta(minutes=1), until=datetime.now(UTC) + timedelta(1))) == [
        0,
        1,
        2,
        3,
    ]
    assert numbers(await everything(sdk.tools, since=timedelta(minutes=1))) == [4, 3, 2, 1, 0]
    assert numbers(await sdk.tools(since=timedelta(minutes=1), tool="look")) == [4, 3, 1, 0]
    assert numbers(await sdk.tools(second.id)) == [4]
    with pytest.raises(ValueError, match="needs since="):
        await sdk.tools()
    with pytest.raises(ValueError, match="give its id too"):
        await sdk.tools(since=timedelta(1), phase="p")


async def test_large_payloads_are_read_from_their_events(sdk: InvestigationSDK) -> None:
    big = {"rows": ["x" * 100] * 100}

    @tool
    def takes(value: dict[str, Any]) -> dict[str, Any]:
        return value

    async with sdk.investigation("big") as investigation:
        takes(big)
    (call,) = await sdk.tools(investigation.id)
    assert call.input_parameters == {"value": big}
    assert call.output_result == big
    assert call.duration_ms is not None
    assert call.completed_at is not None
    assert call.started_at <= call.completed_at


async def test_events(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("events") as investigation:
        for n in range(3):
            look(n)
        investigation.record("my.note", {"n": 1})
    queued = await sdk.service.create_investigation("u", "s", "t", actor="gil")
    all_events = await everything(sdk.events, investigation_id=investigation.id)
    assert [e.sequence for e in all_events] == list(range(1, len(all_events) + 1))
    assert [e.sequence for e in await sdk.events(investigation.id, after=5)] == [e.sequence for e in all_events[5:]]
    assert [e.event_data for e in await sdk.events(investigation.id, event_type="my.note")] == [{"n": 1}]
    kinds = ["tool.started", "tool.completed"]
    assert len(await everything(sdk.events, investigation_id=investigation.id, event_type=kinds)) == 6
    assert [e.event_type async for e in sdk.iter_events(investigation.id, event_type=kinds)] == kinds * 3
    streamed = [e async for e in sdk.iter_events(investigation.id)]
    assert streamed == all_events
    assert [e.sequence async for e in sdk.iter_events(investigation.id, after=7)] == [
        e.sequence for e in all_events[7:]
    ]
    assert len(await sdk.events(queued.id, actor="gil")) == 2
    assert len(await sdk.events(queued.id, actor="ann")) == 0
    times = [e.event_timestamp for e in all_events]
    assert times == sorted(times)
    assert times[0].tzinfo is UTC


async def test_iter_events_streams_and_may_be_broken_off(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("many") as investigation:
        for n in range(1200):
            investigation.record("my.note", {"n": n})
    notes = [e.event_data["n"] async for e in sdk.iter_events(investigation.id, event_type="my.note")]
    assert notes == list(range(1200))
    async for event in sdk.iter_events(investigation.id):
        if event.sequence == 1100:
            break
    for event in sdk.sync.iter_events(investigation.id):
        if event.sequence == 1100:
            break
    assert event.sequence == 1100
    assert sum(1 for _ in sdk.sync.iter_events(investigation.id, event_type="my.note")) == 1200


async def test_phases_are_in_their_order(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("phases", phases=["c", "a"]) as investigation:
        for name in ("b", "a", "c"):
            async with investigation.phase(name):
                pass
    assert [(p.phase_name, p.phase_order) for p in await sdk.phases(investigation.id)] == [("c", 1), ("a", 2), ("b", 3)]


class _Together(MemoryBackend):
    """Reads an investigation together with its phases."""

    async def overview(self, id: str, *, limit: int) -> tuple[InvestigationRow, Sequence[PhaseRow]] | None:
        row = await self.get("investigation", id)
        phases = await self.find(Query("phase", (Where("investigation_id", "=", id),), "phase_order", limit=limit))
        return (row, [p for p in phases if isinstance(p, PhaseRow)]) if isinstance(row, InvestigationRow) else None


@pytest.mark.parametrize("kind", [MemoryBackend, _Together])
@pytest.mark.parametrize("page", [2, 3, 4, 1000])
async def test_phases_are_read_to_the_last(
    kind: type[MemoryBackend], page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("investigation_sdk.engine.reading._PAGE", page)
    names = ["c", "a", "b", "d"]
    async with InvestigationSDK(kind(), telemetry=False) as sdk:
        async with sdk.investigation("one") as run:
            for name in names:
                async with run.phase(name):
                    pass
        assert [phase.phase_name for phase in await sdk.phases(run.id)] == names
        for include_tools in (False, True):
            progress = await sdk.progress(run.id, include_tools=include_tools)
            assert [phase["name"] for phase in progress.phases] == names
        with pytest.raises(InvestigationNotFound, match=UNKNOWN):
            await sdk.progress(UNKNOWN, include_tools=False)
        with pytest.raises(InvestigationNotFound, match=UNKNOWN):
            await sdk.phases(UNKNOWN)


async def test_verify(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("verify") as investigation:
        look(1)
    report = await sdk.verify(investigation.id)
    assert (report.ok, report.problems, report.investigation_id) == (True, [], investigation.id)
    assert report.checked == (await sdk.get(investigation.id)).version
    assert report.head == (await sdk.events(investigation.id))[-1].hash
    with pytest.raises(TypeError, match=r"report\.ok"):
        assert report


async def test_unknown_ids_are_named(sdk: InvestigationSDK) -> None:
    service = sdk.service
    waits = [
        lambda: sdk.get(UNKNOWN),
        lambda: sdk.phases(UNKNOWN),
        lambda: sdk.tools(UNKNOWN),
        lambda: sdk.tools(UNKNOWN, phase="p"),
        lambda: sdk.events(UNKNOWN),
        lambda: anext(sdk.iter_events(UNKNOWN)),
        lambda: sdk.verify(UNKNOWN),
        lambda: sdk.attach(UNKNOWN).__aenter__(),
        lambda: sdk.investigation("child", parent=UNKNOWN).__aenter__(),
        lambda: service.pause(UNKNOWN),
        lambda: service.resume(UNKNOWN),
        lambda: service.cancel(UNKNOWN),
        lambda: service.retry(UNKNOWN),
        lambda: service.transition_state(UNKNOWN, InvestigationState.PAUSED),
        lambda: service.record_tool_execution(UNKNOWN, None, "a", "t", {}),
        lambda: service.create_investigation("u", "s", "t", parent=UNKNOWN),
    ]
    for wait in waits:
        with pytest.raises(InvestigationNotFound, match=UNKNOWN) as found:
            await wait()
        assert found.value.investigation_id is not None
        assert isinstance(found.value, LookupError)
    with pytest.raises(InvestigationNotFound, match=UNKNOWN):
        next(sdk.sync.iter_events(UNKNOWN))


ODD = {
    "a status": ("UPDATE investigations SET status = 'weird'", ("get", "list", "find")),
    "a time": ("UPDATE investigations SET created_at = 9223372036854775807", ("get", "list", "find")),
    "money": ("UPDATE investigations SET cost_estimate = 'a lot'", ("get", "list", "find")),
    "a result": ("UPDATE investigations SET result = '{'", ("get", "list", "find")),
    "a call's status": ("UPDATE tool_executions SET status = 'weird'", ("tools",)),
    "a call's effect": ("UPDATE tool_executions SET effect = 'weird'", ("tools",)),
    "a call's input": ("UPDATE tool_executions SET input_parameters = '{'", ("tools",)),
    "a phase's status": ("UPDATE investigation_phases SET status = 'weird'", ("phases",)),
}


@pytest.mark.parametrize("odd", ODD)
async def test_an_odd_row_is_named(odd: str, lite: InvestigationSDK, other: InvestigationSDK, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with lite.investigation("odd", key="k") as investigation, investigation.phase("p"):
            look(1)
            raise ZeroDivisionError
    id = investigation.id
    statement, ways = ODD[odd]
    with sqlite3.connect(tmp_path / "cases.db") as connection:
        assert connection.execute(statement).rowcount == 1
    connection.close()
    read: dict[str, Callable[[], Any]] = {
        "get": lambda: other.get(id),
        "list": other.list,
        "find": lambda: other.find(key="k"),
        "tools": lambda: other.tools(since=timedelta(days=1)),
        "phases": lambda: other.phases(id),
    }
    for way in ways:
        with pytest.raises(InvestigationError, match=f"{id} cannot be read.*verify") as raised:
            await read[way]()
        assert raised.value.investigation_id == id
    assert (await other.verify(id)).ok  # its log is as it was


# ---- keys that are no text


class Plate:
    """A user's class, which is recorded as a note of what it was."""


@pytest.mark.parametrize(
    "given", [{1: 2}, {None: 1, "a": {(1, 2): 3}}, {b"\xff": 1, 2.5: 1}, {"$type": "set"}, {"\0": 1}]
)
async def test_keys_that_are_no_text_come_back_as_they_were(sdk: InvestigationSDK, given: dict[Any, Any]) -> None:
    made = await sdk.service.create_investigation("gil", "s", "t", given, metadata=given)
    async with sdk.investigation("keys", configuration=given, metadata=given) as inv:
        inv.record("my.event", given)
        assert (inv.configuration, inv.metadata) == (given, given)
    await sdk.service.record_tool_execution(inv.id, None, "a", "t", given, 1)
    for id in (made.id, inv.id):
        one = await sdk.get(id)
        assert (one.configuration, one.metadata) == (given, given)
    listed = {one.id: one for one in await sdk.list()}
    assert listed[made.id].metadata == listed[inv.id].metadata == given
    (call,) = await sdk.tools(inv.id)
    assert call.input_parameters == given
    (event,) = await sdk.events(inv.id, event_type="my.event")
    assert event.event_data == given


async def test_keys_of_a_users_class_take_no_list_down(sdk: InvestigationSDK) -> None:
    given: Any = {Plate(): 1}
    async with sdk.investigation("keys", configuration=given, metadata=given) as inv:
        inv.record("my.event", given)
    await sdk.service.record_tool_execution(inv.id, None, "a", "t", given, 1)
    (listed,) = await sdk.list()
    assert "Plate" in repr(listed.metadata)
    (call,) = await sdk.tools(inv.id)
    (event,) = await sdk.events(inv.id, event_type="my.event")
    for record in (listed, call, event):
        assert "Plate" in repr(record)
