"""Results that are used again: of what reads, for a while, and recorded as what they are."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from investigation_sdk import InvalidArgument, InvestigationSDK, ToolExecution, tool
from investigation_sdk.engine import results

HOUR = timedelta(hours=1)
ran: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _forget() -> None:
    ran.clear()


@dataclass
class Finding:
    score: Decimal
    seen: set[str]


@tool(effect="read", cache=HOUR)
def reputation(device: str) -> Finding:
    ran[device] += 1
    return Finding(Decimal("0.1"), {device})


@tool(effect="read", cache=HOUR, summary=lambda found: f"{found} hits")
async def search(words: str, limit: int = 10) -> int:
    ran[words] += 1
    await asyncio.sleep(0)
    return len(words) * limit


@tool(effect="read", cache=HOUR)
def broken(number: int) -> int:
    ran["broken"] += 1
    raise ValueError(number)


@tool(effect="read", cache=HOUR)
def guess(thing: Any) -> Any:
    ran["guess"] += 1
    return thing


def calls(sdk: InvestigationSDK, id: str) -> list[ToolExecution]:
    return list(sdk.sync.tools(id))


def test_a_result_is_used_again_and_recorded(sdk: InvestigationSDK) -> None:
    with sdk.investigation("first") as first:
        found = reputation("d-1")
    with sdk.investigation("second") as second:
        assert reputation("d-1") == found == Finding(Decimal("0.1"), {"d-1"})
        assert reputation("d-2") != found
    assert ran == {"d-1": 1, "d-2": 1}
    (executed,) = calls(sdk, first.id)
    cached, other = calls(sdk, second.id)
    assert [call.source for call in (executed, cached, other)] == ["executed", "cached", "executed"]
    assert cached.output_result == executed.output_result
    assert cached.input_parameters == {"device": "d-1"}
    assert cached.status == "completed"
    assert sdk.sync.verify(second.id).ok


async def test_of_coroutines(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("one") as investigation:
        assert await search("ab") == await search(words="ab", limit=10) == 20
        assert await search("ab", 3) == 6
    assert ran["ab"] == 2
    found = [(call.source, call.result_summary) for call in await sdk.tools(investigation.id)]
    assert found == [("executed", "20 hits"), ("cached", "20 hits"), ("executed", "6 hits")]


def test_tenants_and_users_see_only_theirs(url: str, make_sdk: Callable[..., InvestigationSDK]) -> None:
    sdk, acme = make_sdk(url), make_sdk(url, tenant_id="acme")
    acme._recorder.results = sdk._recorder.results
    for store, user in ((sdk, "gil"), (sdk, "eve"), (acme, "gil"), (sdk, "gil")):
        with store.investigation("whose", user_id=user):
            reputation("d-1")
    assert ran["d-1"] == 3


def test_what_raised_is_not_kept(sdk: InvestigationSDK) -> None:
    with sdk.investigation("one"):
        for _ in range(2):
            with pytest.raises(ValueError, match="5"):
                broken(5)
    assert ran["broken"] == 2


def test_what_cannot_be_given_back_runs(sdk: InvestigationSDK) -> None:
    class Local:
        pass

    with sdk.investigation("one") as investigation:
        for thing in (object(), Local()):
            assert guess(thing) is guess(thing) is thing
        assert guess(1) == guess(1) == 1
        assert type(guess(True)) is bool
    assert ran["guess"] == 6
    assert Counter(call.source for call in calls(sdk, investigation.id)) == {"executed": 6, "cached": 1}


def test_a_result_gets_too_old(sdk: InvestigationSDK) -> None:
    now = 1000.0
    sdk._recorder.results = results.ResultsHere(lambda: now)
    with sdk.investigation("one"):
        reputation("d-1")
        now += HOUR.total_seconds() - 1
        reputation("d-1")
        assert ran["d-1"] == 1
        now += 1
        reputation("d-1")
    assert ran["d-1"] == 2


def test_a_resume_gives_back_what_the_cache_gave(sdk: InvestigationSDK) -> None:
    with sdk.investigation("warm"):
        reputation("d-1")
    with pytest.raises(RuntimeError), sdk.investigation("cut off", key="k"):
        reputation("d-1")
        raise RuntimeError
    sdk._recorder.results = results.ResultsHere()  # it forgot
    with sdk.investigation("cut off", key="k"):
        assert reputation("d-1") == Finding(Decimal("0.1"), {"d-1"})
    assert ran["d-1"] == 1


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "MOST", 3)
    monkeypatch.setattr(results, "MOST_CHARACTERS", 10)
    kept = results.ResultsHere()
    for number in range(5):
        kept.keep(str(number), "x", 60)
    assert [kept.known(str(number)) for number in range(5)] == [None, None, "x", "x", "x"]
    kept.keep("large", "x" * 9, 60)
    assert [kept.known(key) for key in ("3", "4", "large")] == [None, "x", "x" * 9]
    kept.keep("huge", "x" * 11, 60)
    assert kept.known("huge") is None
    assert kept._characters == 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"effect": "unsafe"}, "is unsafe: only what reads"),
        ({"effect": "idempotent"}, "is idempotent: only what reads"),
        ({}, "declares no effect: only what reads"),
        ({"effect": "read", "sensitive": True}, "sensitive result"),
        ({"effect": "read", "sensitive": ["return"]}, "sensitive result"),
    ],
)
def test_what_must_not_be_cached_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidArgument, match=f"cache=.* of 'plain', which .*{why}"):

        @tool(cache=HOUR, **options)
        def plain(number: int) -> int:
            return number


def test_generators_and_methods_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="is a generator"):

        @tool(cache=HOUR, effect="read")
        def items() -> Any:
            yield 1

    with pytest.raises(InvalidArgument, match="is a method"):

        class Client:
            @tool(cache=HOUR, effect="read")
            def get(self, path: str) -> str:
                return path


def test_what_is_masked_is_not_told_apart(sdk: InvestigationSDK, monkeypatch: pytest.MonkeyPatch) -> None:
    @tool(effect="read", cache=HOUR, sensitive=["token"])
    def whoami(token: str) -> str:
        ran["whoami"] += 1
        return token[:1]

    monkeypatch.delenv("INVESTIGATION_DIGEST_KEY", raising=False)
    with sdk.investigation("one"):
        assert [whoami("ab"), whoami("cd"), whoami("ab")] == ["a", "c", "a"]
        assert ran["whoami"] == 3
        monkeypatch.setenv("INVESTIGATION_DIGEST_KEY", "k")
        assert [whoami("ab"), whoami("cd"), whoami("ab")] == ["a", "c", "a"]
        assert ran["whoami"] == 5
