"""Any value: what JSON can say comes back as it was; what a store cannot keep is refused, and nothing else with it.

The values are made by hypothesis, where it is installed: a few, the same in each run, or as many as
``INVESTIGATION_CONTRACT_EXAMPLES`` says, others in each run. What fails is made as small as it can be, and shown.
"""

from __future__ import annotations

import asyncio
import json
import os
import warnings
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unittest import SkipTest

from investigation_sdk.domain.rows import InvestigationRow, Row, SnapshotRow
from investigation_sdk.storage.commit import Commit, Kind, Query, Where

from .batches import one_fails
from .building import Case, all_same, same
from .opening import ContractBase, OpenStore

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

EXAMPLES: Final = "INVESTIGATION_CONTRACT_EXAMPLES"
_FEW: Final = 12
_SECONDS: Final = 120.0

_TEXTS: Final = (
    *("", " ", "\t\r\n", " padded ", "'", '"', "\\", "\\u0000", "%s", "_%", "'; DROP TABLE investigations; --", "#{x}"),
    *("$set", "$where", "a.b", "__proto__", "NULL", "null", "NaN", "Infinity", "true", "0", "1e400", "{}", "[]"),
    *(
        "\x01\x1f\x7f\x80\x9f",
        "\u2028\u2029",
        "\ufeff",
        "\ufffd\ufffe\uffff",
        "e\u0301",
        "\xe9",
        "\u202e",
        "\u0130",
        "\ufb01",
    ),
    *("\U0001f600", "\U0001f468\u200d\U0001f469", "\U0010ffff", "x" * 2000),
)
"""What has been mistaken for something else, somewhere."""
_POISONS: Final = ("a\0b", "\0", "half \ud800", "\udfff", "\udc00\ud83d")
_NUMBERS: Final = (
    *(0, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**40),
    *(-0.0, 0.1, 1e22, 1.0, 5e-324, 1.7976931348623157e308, 1e-7, 123456789.123456789),
)


class _Made(NamedTuple):
    """What hypothesis makes."""

    json: SearchStrategy[str]
    """A text of JSON."""
    text: SearchStrategy[str]
    """Such as every store keeps: no NUL, no half of a surrogate pair."""
    hostile: SearchStrategy[str]
    """Any."""
    number: SearchStrategy[int]


def _made() -> _Made:
    from hypothesis import strategies as st

    def texts(alphabet: SearchStrategy[str]) -> SearchStrategy[str]:
        return st.sampled_from(_TEXTS) | st.text(alphabet, max_size=30)

    text = texts(st.characters(codec="utf-8", exclude_characters="\0"))
    floats = st.floats(allow_nan=False, allow_infinity=False)
    numbers = st.sampled_from(_NUMBERS) | st.integers(-(10**30), 10**30) | floats
    value: SearchStrategy[Any] = st.recursive(
        st.none() | st.booleans() | numbers | text,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
        max_leaves=20,
    )

    def spelled(ascii_only: bool, blanks: bool, value: Any) -> str:  # noqa: FBT001 - they are drawn
        return json.dumps(value, ensure_ascii=ascii_only, separators=None if blanks else (",", ":"))

    deep = st.just("[" * 100 + "]" * 100)
    nasty = st.sampled_from(_POISONS) | texts(st.characters())
    number = st.sampled_from([n for n in _NUMBERS if isinstance(n, int)]) | st.integers(-(2**70), 2**70)
    return _Made(st.builds(spelled, st.booleans(), st.booleans(), value) | deep, text, nasty, number)


async def _for_any(
    values: Callable[[_Made], tuple[SearchStrategy[Any], SearchStrategy[Any]]],
    check: Callable[[Any, Any], Awaitable[None]],
) -> None:
    """Check with many pairs of values. Hypothesis calls from a thread; what is checked happens here, on the loop."""
    try:
        from hypothesis import HealthCheck, given, settings
        from hypothesis.errors import HypothesisDeprecationWarning
    except ImportError:
        raise SkipTest("hypothesis, which makes the values, is not installed; run: pip install hypothesis") from None
    loop = asyncio.get_running_loop()
    wanted = os.environ.get(EXAMPLES)

    async def checked(one: Any, other: Any) -> None:
        await check(one, other)

    @settings(
        max_examples=int(wanted or _FEW),
        derandomize=wanted is None,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(*values(_made()))
    def examples(one: Any, other: Any) -> None:
        asyncio.run_coroutine_threadsafe(checked(one, other), loop).result(_SECONDS)

    with warnings.catch_warnings():
        # while hypothesis makes a value in its thread, a client's own tasks may ask `random` on this loop
        warnings.filterwarnings("ignore", "Do not use the `random` module", HypothesisDeprecationWarning)
        await asyncio.to_thread(examples)


class ValueTests(ContractBase):
    """Any value in a commit."""

    async def test_any_json_comes_back_as_it_was(self, store: OpenStore) -> None:
        """In the log byte for byte, in rows the same value."""

        async def check(data: str, other: str) -> None:
            case = Case(metadata=other, configuration=data)
            call = case.tool(input_parameters=data, output_result=other)
            phase = case.phase(input_data=other, error_details=data)
            snapshot = case.snapshot(1, state_data=data, tool_states=other)
            await case.apply(store.a, case.commit("a", "b", data=data, rows=[call, phase], snapshot=snapshot))
            await case.apply(store.a, case.commit("c", data=other, result=data, last_checkpoint=other))
            assert list(await store.b.read_events(case.id)) == case.events, "the log is not as it was written"
            rows: dict[Kind, Row | SnapshotRow] = {
                "investigation": case.row,
                "tool": call,
                "phase": phase,
                "snapshot": snapshot,
            }
            for kind, row in rows.items():
                assert same(await store.b.get(kind, row.id), row), f"JSON in a row of kind {kind!r} is another value"

        await _for_any(lambda made: (made.json, made.json), check)

    async def test_any_text_is_kept_and_found(self, store: OpenStore) -> None:
        async def check(text: str, other: str) -> None:
            case = Case(subject=text, user_id=other, tenant_id=text, investigation_type=other)
            call = case.tool(tool_name=text, agent_name=other, error_message=text)
            await case.apply(store.a, case.commit(text or "a", rows=[call]))
            assert list(await store.b.read_events(case.id, event_type=[text or "a"])) == case.events
            mine = Where("id", "=", case.id)
            fields = {"subject": text, "user_id": other, "tenant_id": text, "investigation_type": other}
            for field, value in fields.items():
                for where in (
                    Where(field, "=", value),
                    Where(field, "in", (value, "?")),
                    Where(field, ">=", value),
                ):
                    found = await store.b.find(Query("investigation", (mine, where)))
                    assert all_same(found, [case.row]), f"{where} does not find it"
            found = await store.b.find(Query("tool", (Where("id", "=", call.id), Where("tool_name", "=", text))))
            assert all_same(found, [call])

        await _for_any(lambda made: (made.text, made.text), check)

    async def test_any_poison_is_kept_exactly_or_refused_alone(self, store: OpenStore) -> None:
        async def check(text: str, number: int) -> None:
            for create in (True, False):
                cases = [Case() for _ in range(3)]
                if not create:
                    for case in cases:
                        await case.apply(store.a)
                batch = [case.commit("a", "b", rows=[case.tool()]) for case in cases]
                _poison(cases[1], batch[1], text, number)
                await one_fails(store, cases, batch, 1)

        await _for_any(lambda made: (made.hostile, made.number), check)


def _poison(case: Case, commit: Commit, text: str, number: int) -> None:
    """Put what some stores cannot keep wherever it may stand; the chain does not matter to a store."""
    data = json.dumps([text, number], ensure_ascii=False)
    commit.events = [commit.events[0], commit.events[1]._replace(event_data=data, actor=text)]
    row = commit.rows[0]
    assert isinstance(row, InvestigationRow)
    call = case.tool(tool_name=text, error_message=text, tokens_used=number, input_parameters=data)
    commit.rows = [row._replace(current_phase=text, error_message=text), call]
