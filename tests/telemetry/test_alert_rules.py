"""Each Prometheus rule in docs/ is evaluated over scrapes of what really ran: it fires where it should, the first time
that something happens too, and nowhere else."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY

from investigation_sdk import AsyncInvestigationRun, InvestigationSDK, InvestigationState, LeaseLost, tool
from investigation_sdk.engine.sessions import Sessions
from investigation_sdk.telemetry import Telemetry
from investigation_sdk.telemetry.metrics import metrics_of
from tests.telemetry.promql import Scrape, evaluate

RULES = Path(__file__).parents[2] / "docs" / "howto" / "prometheus" / "alerts.yml"
EXPRESSIONS: dict[str, str] = {
    rule["alert"]: rule["expr"]
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}


@tool
def fragile(n: int) -> int:
    if n:
        raise ValueError(n)
    return n


class Watched:
    """An application that is scraped once a minute, of a time of its own."""

    def __init__(self, make_sdk: Callable[..., InvestigationSDK], url: str) -> None:
        self.provider = MeterProvider([PrometheusMetricReader()])
        self.sdk = make_sdk(url, telemetry=Telemetry(meter_provider=self.provider))
        self.scrapes: list[Scrape] = []

    def scrape(self) -> None:
        self.sdk.sync.flush()
        families: list[Any] = list(REGISTRY.collect())
        values = {
            (s.name, frozenset(label for label in s.labels.items() if label[1])): s.value  # to Prometheus, "" is none
            for family in families
            for s in family.samples
        }
        self.scrapes.append(Scrape(self.scrapes[-1].time + 60 if self.scrapes else 0, values))

    def good(self, number: int) -> None:
        for _ in range(number):
            with self.sdk.investigation("s", investigation_type="fraud") as investigation, investigation.phase("p"):
                fragile(0)

    def fail(self, key: str | None = None) -> None:
        with pytest.raises(ValueError, match="1"), self.sdk.investigation("s", key=key, investigation_type="fraud"):
            fragile(1)

    def firing(self) -> dict[str, list[dict[str, str]]]:
        found = {name: evaluate(expression, self.scrapes) for name, expression in EXPRESSIONS.items()}
        return {name: [dict(labels) for labels in sorted(of)] for name, of in found.items() if of}


@pytest.fixture
def watched(make_sdk: Callable[..., InvestigationSDK], sqlite_url: str) -> Iterator[Watched]:
    """After a healthy start."""
    it = Watched(make_sdk, sqlite_url)
    it.good(4)
    it.scrape()
    yield it
    it.provider.shutdown()


FRAUD = [{"investigation_type": "fraud"}]


def test_none_fires_where_all_is_well(watched: Watched) -> None:
    for n in range(3):
        watched.good(5)
        watched.fail(f"k{n}")  # one in six, and it is retried
        with watched.sdk.investigation("s", key=f"k{n}", investigation_type="fraud"):
            fragile(0)
        watched.scrape()
    assert watched.firing() == {}


def test_investigations_fail_and_so_does_a_tool(watched: Watched) -> None:
    """The first failure of both is after the first scrape."""
    watched.fail()
    watched.fail()
    watched.good(3)
    watched.scrape()
    assert watched.firing()["InvestigationsFail"] == FRAUD
    for _ in range(4):
        watched.fail()
    watched.scrape()
    assert watched.firing() == {"InvestigationsFail": FRAUD, "ToolFails": [{"gen_ai_tool_name": "fragile"}]}


def test_investigations_are_retried(watched: Watched) -> None:
    watched.good(5)
    for n in range(3):
        watched.fail(f"k{n}")
        with watched.sdk.investigation("s", key=f"k{n}", investigation_type="fraud"):
            pass
    watched.scrape()
    assert watched.firing()["InvestigationsAreRetried"] == FRAUD


def test_one_that_fails_in_a_quiet_hour_wakes_nobody(watched: Watched) -> None:
    """Nothing is created meanwhile, and it is all that ends."""
    with pytest.raises(ValueError, match="1"), watched.sdk.investigation("s", investigation_type="fraud"):
        for _ in range(20):
            watched.scrape()
        fragile(1)
    watched.scrape()
    assert watched.firing() == {}


def test_one_of_long_ago_that_is_retried_wakes_nobody(watched: Watched) -> None:
    watched.good(20)
    watched.fail("k")
    for _ in range(65):
        watched.scrape()
    with watched.sdk.investigation("s", key="k", investigation_type="fraud"):
        pass
    watched.scrape()
    assert watched.firing() == {}


def test_long_ones_that_fail_together_are_noticed(watched: Watched) -> None:
    """However long ago they were created."""
    with pytest.raises(ValueError, match="1"), contextlib.ExitStack() as blocks:
        for _ in range(5):
            blocks.enter_context(watched.sdk.investigation("s", investigation_type="fraud"))
        for _ in range(20):
            watched.scrape()
        fragile(1)
    watched.scrape()
    assert watched.firing()["InvestigationsFail"] == FRAUD


def test_what_is_driven_does_not_move(watched: Watched) -> None:
    with watched.sdk.investigation("s", investigation_type="fraud"):
        watched.scrape()
        assert watched.firing() == {}
        del watched.scrapes[0]
        watched.scrape()
        assert watched.firing() == {"InvestigationsDoNotMove": [{}]}
        fragile(0)
        watched.scrape()
        assert watched.firing() == {}


def test_what_is_recorded_waits(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sessions, "queued", property(lambda sessions: 1001))
    watched.scrape()
    assert list(watched.firing()) == ["RecordsWait"]


def test_the_store_is_slow(watched: Watched) -> None:
    metrics = metrics_of(watched.provider)
    for seconds in (0.01, 0.02, 3.0):
        metrics.committed(seconds, 1, failed=False)
    watched.scrape()
    assert watched.firing() == {"StoreIsSlow": [{}]}


def test_something_is_not_recorded_as_it_was_for_the_first_time(watched: Watched) -> None:
    with watched.sdk.investigation("s", investigation_type="fraud") as investigation:
        investigation.record("odd", {"object": object()})
    watched.scrape()
    assert watched.firing() == {"NotRecordedAsItWas": [{"investigation_warning_kind": "data"}]}


def test_a_lease_is_lost_for_the_first_time(watched: Watched) -> None:
    sdk = watched.sdk
    with pytest.raises(LeaseLost), sdk.investigation("t", investigation_type="fraud") as taken:
        sdk.sync.service.transition_state(taken.id, InvestigationState.FAILED, actor="ann")
        fragile(0)
    watched.good(9)
    watched.scrape()
    assert watched.firing() == {"LeasesAreLost": FRAUD}


def test_retention_is_overdue(watched: Watched) -> None:
    metrics, monitor = metrics_of(watched.provider), object.__new__(Watched)
    metrics.oldest(monitor, 399 * 86400)
    watched.scrape()
    assert watched.firing() == {}
    metrics.oldest(monitor, 401 * 86400)
    watched.scrape()
    assert watched.firing() == {"RetentionIsOverdue": [{}]}


async def test_a_worker_is_seen_before_its_first_investigation(
    make_sdk: Callable[..., InvestigationSDK], sqlite_url: str
) -> None:
    """Of the types that it works on, the first failure counts too."""
    watched = Watched(make_sdk, sqlite_url)
    sdk = watched.sdk

    @sdk.investigator("phishing")
    async def fails(run: AsyncInvestigationRun) -> None:
        raise LookupError("no such account")

    try:
        async with sdk.worker():
            await asyncio.to_thread(watched.scrape)
            for n in range(5):
                made = await sdk.submit("phishing", f"account {n}")
                assert (await asyncio.wait_for(sdk.wait(made.id), 60)).status == "failed"
        await asyncio.to_thread(watched.scrape)
        assert watched.firing() == {"InvestigationsFail": [{"investigation_type": "phishing"}]}
    finally:
        watched.provider.shutdown()
