"""Mistyped arguments, over the whole public surface: each is refused by an error of the SDK's that names the argument,
shows what was given and says what would do, and nothing is recorded."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import investigation_sdk
from investigation_sdk import (
    ConfigurationError,
    InvalidArgument,
    InvestigationError,
    InvestigationSDK,
    InvestigationState,
    PhasePlan,
    current_tool,
    tool,
)

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001
loose: Any = investigation_sdk
ID = "01900000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lease_ttl": 5}, "lease_ttl=5 is not a duration of 0 or more, such as timedelta"),
        ({"lease_ttl": timedelta(seconds=-1)}, "lease_ttl=.* is not a duration of 0 or more"),
        ({"max_inline_bytes": "many"}, "max_inline_bytes='many' is not a whole number"),
        ({"max_inline_bytes": True}, "max_inline_bytes=True is not a whole number"),
        ({"tenant_id": 7}, "tenant_id=7 is not text"),
        ({"backend_options": ["x"]}, r"backend_options=\['x'\] is not a mapping"),
        ({"auto_migrate": "no"}, "auto_migrate='no' is not True or False"),
        ({"durability": 3}, "durability=3 is not one of 'sync', 'strict', 'batched'"),
        ({"durability": ["sync"]}, r"durability=\['sync'\] is not one of"),
        ({"on_pause": None}, "on_pause=None is not one of 'wait', 'raise'"),
        ({"on_store_failure": 1}, "on_store_failure=1 is not one of 'raise', 'continue'"),
    ],
)
def test_what_an_sdk_is_not_made_with(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        InvestigationSDK("memory://", **options)


Way = Callable[[Any], Any]

WAYS: list[tuple[str, Way, str]] = [
    ("subject", lambda s: s.investigation(5), "subject=5 is not text with something in it"),
    ("subject", lambda s: s.investigation(""), "subject='' is not text with something in it"),
    ("key", lambda s: s.investigation("s", key=9), "key=9 is not text"),
    ("user_id", lambda s: s.investigation("s", user_id=9), "user_id=9 is not text"),
    ("metadata", lambda s: s.investigation("s", metadata=[1]), r"metadata=\[1\] is not a mapping, such as"),
    ("configuration", lambda s: s.investigation("s", configuration="x"), "configuration='x' is not a mapping"),
    ("phases", lambda s: s.investigation("s", phases="abc"), r"phases='abc' is one text; .* phases=\['abc'\]"),
    ("phases", lambda s: s.investigation("s", phases=5), "phases=5 is not a list of names"),
    ("name", lambda s: s.investigation("s", phases=[5]), "name=5 is not text"),
    ("on_finished", lambda s: s.investigation("s", on_finished="x"), "on_finished='x' is not one of 'return', 'new'"),
    ("wait", lambda s: s.attach(ID, wait=1), "wait=1 is not a duration of 0 or more"),
    ("key", lambda s: s.sync.find(key=""), "key='' is not text with something in it"),
    (
        "since",
        lambda s: s.sync.list(since="yesterday"),
        "since='yesterday' is not a datetime with a time zone.* or how",
    ),
    ("until", lambda s: s.sync.list(until=NAIVE), r"until=datetime\..* is not a datetime with a time zone"),
    ("limit", lambda s: s.sync.list(limit=0), "limit=0 is not from 1 to 1000; go on with after=page.next"),
    ("limit", lambda s: s.sync.list(limit=-1), "limit=-1 is not from 1 to 1000"),
    ("limit", lambda s: s.sync.list(limit="9"), "limit='9' is not from 1 to 1000"),
    ("after", lambda s: s.sync.list(after="x"), "after='x' is not an id; pass `next` of the page before"),
    ("status", lambda s: s.sync.list(status="runing"), "status='runing' is not one of 'created'"),
    ("status", lambda s: s.sync.list(status=5), "status=5 is not one of 'created'"),
    ("user_id", lambda s: s.sync.list(user_id=5), "user_id=5 is not a text or a list of texts"),
    ("tool", lambda s: s.sync.tools(ID, tool=5), "tool=5 is not a text"),
    ("effect", lambda s: s.sync.tools(ID, effect="reed"), "effect='reed' is not one of 'read'"),
    ("limit", lambda s: s.sync.tools(ID, limit=1001), "limit=1001 is not from 1 to 1000"),
    ("after", lambda s: s.sync.events(ID, after="x"), "after='x' is not the sequence of an event"),
    ("after", lambda s: s.sync.events(ID, after=-1), "after=-1 is not the sequence of an event"),
    ("event_type", lambda s: s.sync.events(ID, event_type=5), "event_type=5 is not a text"),
    ("actor", lambda s: s.sync.events(ID, actor=5), "actor=5 is not text"),
    ("after", lambda s: list(s.sync.iter_events(ID, after="x")), "after='x' is not the sequence"),
    ("timeout", lambda s: s.sync.flush("1"), "timeout='1' is not a number of seconds, 0 or more"),
    ("timeout", lambda s: s.sync.flush(-1), "timeout=-1 is not a number of seconds"),
    (
        "metadata",
        lambda s: s.sync.service.create_investigation("u", "s", "t", metadata=1),
        "metadata=1 is not a mapping",
    ),
    (
        "queue",
        lambda s: s.sync.service.create_investigation("u", "s", "t", queue="no"),
        "queue='no' is not True or False",
    ),
    ("actor", lambda s: s.sync.service.pause(ID, actor=5), "actor=5 is not text"),
    ("reason", lambda s: s.sync.service.cancel(ID, 5), "reason=5 is not text"),
    ("new_state", lambda s: s.sync.service.transition_state(ID, "x"), "new_state='x' is not one of 'created'"),
    ("state", lambda s: s.service.on_state("x"), "state='x' is not one of 'created'"),
    ("tool_name", lambda s: s.sync.service.record_tool_execution(ID, None, "a", 5, {}), "tool_name=5 is not text"),
    ("input_parameters", lambda s: s.sync.service.record_tool_execution(ID, None, "a", "t", [1]), "is not a mapping"),
    (
        "completed_at",
        lambda s: s.sync.service.record_tool_execution(ID, None, "a", "t", {}, completed_at=NAIVE),
        "completed_at=.* is not a datetime with a time zone",
    ),
    ("name", lambda _: loose.tool(name=5), "name=5 is not text"),
    ("version", lambda _: loose.tool(version=1.2), "version=1.2 is not text"),
    ("summary", lambda _: loose.tool(summary="x"), "summary='x' is not a function"),
    (
        "no_effect_on",
        lambda _: loose.tool(no_effect_on=ValueError),
        "no_effect_on=.* is not a tuple of exception classes",
    ),
    ("cache", lambda _: loose.tool(cache=60), "cache=60 is not a duration"),
    ("name", lambda _: loose.agent(5), "name=5 is not text"),
    ("model", lambda _: loose.agent("a", model=5), "model=5 is not text"),
    ("fn", lambda _: loose.propagate(5), "fn=5 is not a function"),
    ("name", lambda _: loose.PhasePlan(""), "name='' is not text with something in it"),
    ("tools", lambda _: loose.PhasePlan("p", tools=[5]), "tools=5 is not a name or a decorated function"),
    ("tools", lambda _: loose.PhasePlan("p", tools=5), "tools=5 is not a list of names and functions"),
]


@pytest.mark.parametrize(("argument", "way", "message"), WAYS, ids=[f"{n}-{w[0]}" for n, w in enumerate(WAYS)])
def test_what_is_refused(make_sdk: Callable[..., InvestigationSDK], argument: str, way: Way, message: str) -> None:
    sdk = make_sdk("memory://")
    with pytest.raises(InvalidArgument, match=message) as refused:
        way(sdk)
    assert refused.value.argument in (argument, "")
    assert isinstance(refused.value, ValueError | InvestigationError)
    assert len(sdk.sync.list()) == 0


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "3", None])
def test_a_phase_weighs_something(weight: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"the weight of phase 'p' is .*greater than 0"):
        PhasePlan("p", weight)


def test_inside_a_block(make_sdk: Callable[..., InvestigationSDK]) -> None:
    sdk = make_sdk("memory://")
    ran: list[Any] = []

    @tool
    def reports(**more: Any) -> None:
        ran.append(more)
        current_tool().report(**more)

    block: Any = sdk.investigation("s")
    with block as investigation:
        for way, message in [
            (lambda: investigation.record(5), "event_type=5 is not text"),
            (lambda: investigation.record("my.note", [1]), r"data=\[1\] is not a mapping"),
            (lambda: investigation.skip_phase(5), "name=5 is not text"),
            (lambda: investigation.pause(5), "reason=5 is not text"),
            (lambda: investigation.report(tokens_used="3"), "tokens_used='3' is not a whole number"),
            (lambda: investigation.report(cost_estimate="abc"), "cost_estimate='abc' is not a number"),
            (lambda: investigation.report(cost_estimate=Decimal("NaN")), "cost_estimate=NaN is not a finite number"),
            (lambda: investigation.plan(5), "name=5 is not text"),
        ]:
            with pytest.raises(InvalidArgument, match=message):
                way()
        with investigation.phase("p") as phase:
            for fraction in ("half", float("nan"), None):
                with pytest.raises(InvalidArgument, match=r"fraction=.* is not a finite number"):
                    phase.progress(fraction)
        assert len(sdk.sync.events(investigation.id, event_type="my.note")) == 0
        assert investigation.state is InvestigationState.RUNNING
        reports_of: list[tuple[dict[str, Any], str]] = [
            ({"progress": "x"}, "progress='x' is not a finite number"),
            ({"summary": 5}, "summary=5 is not text"),
        ]
        for more, message in reports_of:
            with pytest.raises(InvalidArgument, match=message):
                reports(**more)
    assert len(ran) == 2


def test_a_value_that_cannot_be_shown_and_a_long_one(make_sdk: Callable[..., InvestigationSDK]) -> None:
    class Rude:
        def __repr__(self) -> str:
            raise OSError("no")

    loose_sdk: Any = make_sdk("memory://")
    with pytest.raises(InvalidArgument, match="subject=<Rude> is not text"):
        loose_sdk.investigation(Rude())
    with pytest.raises(InvalidArgument) as refused:
        loose_sdk.investigation("s", metadata=["x" * 1000])
    assert len(str(refused.value)) < 250
