"""lookup, tool_totals, command_for: what a command line needs of the SDK."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from investigation_backends.memory import MemoryBackend
from investigation_sdk import (
    AmbiguousReference,
    InvestigationNotFound,
    InvestigationSDK,
    ToolState,
    agent,
    tool,
)
from investigation_sdk.ids import canonical, prefix_bounds, uuid7


@tool
def look(n: int) -> int:
    return n


@tool(agent="second")
def fail() -> None:
    raise OSError("unreachable")


def made(sdk: InvestigationSDK, subject: str = "x", **options: Any) -> str:
    with sdk.investigation(subject, **options) as investigation:
        pass
    return investigation.id


# ---- the bounds of a prefix


@given(st.uuids(), st.integers(1, 36), st.booleans(), st.booleans())
def test_an_id_is_within_the_bounds_of_each_of_its_prefixes(id: object, size: int, hyphens: bool, upper: bool) -> None:
    text = str(id) if hyphens else str(id).replace("-", "")
    prefix = text[:size].upper() if upper else text[:size]
    bounds = prefix_bounds(prefix)
    assert bounds is not None
    low, high = bounds
    assert low <= str(id) <= high
    assert canonical(low) == low
    assert canonical(high) == high
    assert low.replace("-", "").startswith(prefix.lower().replace("-", ""))
    assert high.replace("-", "").startswith(prefix.lower().replace("-", ""))


@pytest.mark.parametrize(
    "text", ["", "-", "x", "019g", "01-9a", "019a1f3e7-c1b", "case-981", "0" * 33, "019a ", "\u0660"]
)
def test_what_begins_no_id(text: str) -> None:
    assert prefix_bounds(text) is None


# ---- lookup


async def test_by_id_key_and_prefix(sdk: InvestigationSDK) -> None:
    id = made(sdk, key="case-981")
    other = made(sdk)
    for reference in (id, id.upper(), id.replace("-", ""), "case-981", id[:-1], id[:30]):
        assert (await sdk.lookup(reference)).id == id
    assert sdk.sync.lookup(other).id == other


async def test_the_newest_of_a_key(sdk: InvestigationSDK) -> None:
    made(sdk, key="k")
    newest = made(sdk, key="k", on_finished="new")
    assert (await sdk.lookup("k")).id == newest


async def test_an_id_wins_over_a_key_and_a_key_over_a_prefix(sdk: InvestigationSDK) -> None:
    first = made(sdk)
    named_as_an_id = made(sdk, key=first)
    named_as_a_prefix = made(sdk, key=first[:8])
    unused = uuid7()
    named_as_an_unused_id = made(sdk, key=unused)
    assert (await sdk.lookup(first)).id == first
    assert (await sdk.lookup(first[:8])).id == named_as_a_prefix
    assert (await sdk.lookup(unused)).id == named_as_an_unused_id
    assert (await sdk.lookup(named_as_an_id)).id == named_as_an_id


async def test_a_key_of_several_types(sdk: InvestigationSDK) -> None:
    ids = [made(sdk, key="k", investigation_type=its_type) for its_type in ("a", "b")]
    with pytest.raises(AmbiguousReference, match="'k' is the key of several") as caught:
        await sdk.lookup("k")
    assert sorted(caught.value.candidates) == sorted(ids)
    assert all(id in str(caught.value) for id in ids)
    assert (await sdk.lookup("k", investigation_type="b")).id == ids[1]
    with pytest.raises(InvestigationNotFound, match="no investigation of type 'c' with the id or key 'k'"):
        await sdk.lookup("k", investigation_type="c")
    with pytest.raises(InvestigationNotFound):
        await sdk.lookup(ids[0], investigation_type="b")


async def test_an_ambiguous_prefix_names_the_newest(sdk: InvestigationSDK) -> None:
    ids = [made(sdk) for _ in range(12)]
    with pytest.raises(AmbiguousReference, match="Give more of the id") as caught:
        await sdk.lookup(ids[0][:6])
    assert list(caught.value.candidates) == ids[:1:-1]
    assert "…" in str(caught.value)


@pytest.mark.parametrize(
    "reference", ["nothing", "", "f", "ffffffff-ffff-7fff-8fff-ffffffffffff", "\0", "\ud800", "x" * 5000]
)
async def test_nothing_of_that_name(sdk: InvestigationSDK, reference: str) -> None:
    made(sdk, key="k")
    with pytest.raises(InvestigationNotFound) as caught:
        await sdk.lookup(reference)
    assert len(str(caught.value)) < 500


async def test_keys_that_stores_do_not_take_as_they_are(sdk: InvestigationSDK) -> None:
    id = made(sdk, key="nul\0 and \ud800")
    assert (await sdk.lookup("nul\0 and \ud800")).id == id


async def test_tenants_are_apart(sqlite_url: str, make_sdk: Callable[..., InvestigationSDK]) -> None:
    a, b, everybody = (make_sdk(sqlite_url, tenant_id=tenant) for tenant in ("a", "b", None))
    ids = [made(sdk, key="k") for sdk in (a, b)]
    assert (await a.lookup("k")).id == ids[0]
    assert (await b.lookup("k")).id == ids[1]
    assert (await b.lookup(ids[1][:-1])).id == ids[1]
    for reference in (ids[0], ids[0][:-1]):
        with pytest.raises(InvestigationNotFound):
            await b.lookup(reference)
        assert (await everybody.lookup(reference)).id == ids[0]
    with pytest.raises(AmbiguousReference):
        await everybody.lookup("k")


def test_lookups_use_indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[str] = []
    real = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real(*arguments, **options)
        connection.set_trace_callback(statements.append)
        return connection

    statements: list[str] = []
    with InvestigationSDK(f"sqlite:///{tmp_path}/x.db") as sdk:
        made(sdk, key="k")
        monkeypatch.setattr(sqlite3, "connect", traced)
    with InvestigationSDK(f"sqlite:///{tmp_path}/x.db") as sdk:
        sdk.sync.lookup("k")
        id = sdk.sync.lookup("01")
        assert id.key == "k"
    monkeypatch.undo()
    connection = sqlite3.connect(tmp_path / "x.db")
    for statement in statements:
        if statement.startswith("SELECT investigations") or "max(" in statement:
            plans += [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    connection.close()
    assert any("COVERING INDEX uq_investigations_key" in plan for plan in plans), plans
    assert any("SEARCH investigations USING INDEX" in plan and "id>? AND id<?" in plan for plan in plans), plans
    assert not [plan for plan in plans if plan == "SCAN investigations"]


# ---- totals


async def test_tool_totals(sdk: InvestigationSDK) -> None:
    with sdk.investigation("x") as investigation:
        look(0)
        with investigation.phase("p") as phase, agent("first"):
            for n in range(3):
                look(n)
            for _ in range(2):
                with pytest.raises(OSError, match="unreachable"):
                    fail()
    totals = await sdk.tool_totals(investigation.id)
    phase_id = phase.id
    assert [(t.phase_id, t.agent_name, t.tool_name, t.calls, t.by_status) for t in totals] == [
        (None, "main", "look", 1, {ToolState.COMPLETED: 1}),
        (phase_id, "first", "look", 3, {ToolState.COMPLETED: 3}),
        (phase_id, "second", "fail", 2, {ToolState.FAILED: 2}),
    ]
    assert all(total.duration_ms >= 0 for total in totals)
    assert sum(total.calls for total in totals) == len(await sdk.tools(investigation.id))


async def test_tool_totals_of_nothing(sdk: InvestigationSDK) -> None:
    assert await sdk.tool_totals(made(sdk)) == []
    with pytest.raises(InvestigationNotFound):
        await sdk.tool_totals(uuid7())


# ---- the next command


@pytest.mark.parametrize(
    ("url", "reference", "command"),
    [
        ("sqlite:///fraud.db", "case-981", "investigate show case-981 --db sqlite:///fraud.db"),
        ("sqlite:///my cases.db", "a b", "investigate show 'a b' --db 'sqlite:///my cases.db'"),
        ("sqlite:///x.db", "\x1b]0;x\x07", "investigate show '\\x1b]0;x\\x07' --db sqlite:///x.db"),
        (None, "case-981", "investigate show case-981"),
        ("memory://", "case-981", None),
    ],
)
def test_command_for(url: str | None, reference: str, command: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INVESTIGATION_URL", raising=False)
    assert InvestigationSDK(url).command_for(reference) == command


def test_command_for_what_has_an_id(tmp_path: Path, make_sdk: Callable[..., InvestigationSDK]) -> None:
    from investigation_backends.sqlite import SQLiteBackend

    backend = SQLiteBackend(tmp_path / "x.db")
    sdk = make_sdk(backend)
    with sdk.investigation("x") as investigation:
        pass
    assert sdk.command_for(investigation) == f"investigate show {investigation.id} --db {backend.url}"
    assert InvestigationSDK(MemoryBackend()).command_for(investigation) is None
