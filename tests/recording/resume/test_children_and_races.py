"""Resume, where there is more than one: children in their parent's block, two creators of one key, arguments that do
not count, and what is summed up by phase."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from investigation_sdk import InvestigationSDK, tool

Make = Callable[..., InvestigationSDK]
SECONDS = 60

ran: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _forget() -> None:
    ran.clear()


@tool(effect="idempotent")
def look(at: str) -> str:
    ran[at] += 1
    return at.upper()


@tool(effect="idempotent", ignore=["trace"])
def search(text: str, trace: str) -> str:
    ran[f"search {text}"] += 1
    return f"{text} by {trace}"


@tool(effect="unsafe", identity=["account"])
def freeze(account: str, reason: str) -> str:
    ran[f"freeze {account}"] += 1
    return reason


def test_a_child_of_a_parent_that_goes_on_is_finished_or_goes_on(sdk: InvestigationSDK) -> None:
    def work(stop_at: str = "") -> tuple[str, list[str]]:
        children: list[str] = []
        with sdk.investigation("parent", key="parent") as parent:
            look("first")
            for name in ("done", "begun"):
                with sdk.investigation(f"child {name}", key=name) as child:
                    children.append(child.id)
                    if not child.finished:
                        child.result = look(name)
                        if name == stop_at:
                            raise RuntimeError("stop")
                    assert child.result == name.upper()
            parent.result = look("last")
        return parent.id, children

    with pytest.raises(RuntimeError, match="stop"):
        work(stop_at="begun")
    id, children = work()
    assert ran == {"first": 1, "done": 1, "begun": 1, "last": 1}, "nothing ran twice"
    assert len(set(children)) == 2
    attempts = {}
    for child in children:
        record = sdk.sync.get(child)
        assert (record.status, record.parent_investigation_id) == ("completed", id)
        attempts[record.subject] = len(list(sdk.sync.iter_events(child, event_type="investigation.claimed")))
    assert attempts == {"child done": 1, "child begun": 2}


def test_of_two_creators_of_a_key_one_works_and_both_have_the_result(sqlite_url: str, make_sdk: Make) -> None:
    handles = [make_sdk(sqlite_url), make_sdk(sqlite_url)]
    together = threading.Barrier(2)

    def work(sdk: InvestigationSDK, key: str) -> tuple[str, object]:
        together.wait(SECONDS)
        with sdk.investigation("account 42", key=key) as investigation:
            if not investigation.finished:
                investigation.result = look(key)
            return investigation.id, investigation.result

    with ThreadPoolExecutor(2) as pool:
        for n in range(10):
            key = f"case {n}"
            told = [done.result(SECONDS) for done in [pool.submit(work, sdk, key) for sdk in handles]]
            assert told[0] == told[1]
            assert told[0][1] == key.upper()
    assert ran == Counter({f"case {n}": 1 for n in range(10)})
    assert len(handles[0].sync.list(limit=100)) == 10


def test_what_is_ignored_or_no_part_of_the_identity_may_differ(sdk: InvestigationSDK) -> None:
    for attempt in ("one", "two"):
        try:
            with sdk.investigation("account 42", key="k"):
                assert search("x", trace=attempt) == "x by one"
                assert freeze("42", reason=attempt) == "one"
                if attempt == "one":
                    raise RuntimeError("stop")
                assert search("y", trace=attempt) == "y by two"
        except RuntimeError:
            assert attempt == "one"
    assert ran == {"search x": 1, "freeze 42": 1, "search y": 1}


def test_each_phase_of_each_attempt_is_summed_up_once(sdk: InvestigationSDK) -> None:
    for attempt in range(1, 4):
        with (
            pytest.raises(RuntimeError),
            sdk.investigation("account 42", key="k") as investigation,
            investigation.phase("device"),
        ):
            look("a")
            look("b")
            look(f"new {attempt}")
            raise RuntimeError("stop")
    found = sdk.sync.find(key="k")
    assert found is not None
    events = list(sdk.sync.iter_events(found.id, event_type="resume.summary"))
    said = [(event.event_data["phase"], event.event_data["reused"], event.event_data["new"]) for event in events]
    assert said == [("device", 2, 1), ("device", 2, 1)], "none of the first attempt: it had nothing to go on with"
    assert ran == {"a": 1, "b": 1, "new 1": 1, "new 2": 1, "new 3": 1}
