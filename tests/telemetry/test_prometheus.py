"""The alert rules and the dashboard in docs/ are queries over metrics and labels that really come out."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from fastapi import FastAPI
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, make_asgi_app
from prometheus_client.core import Metric

from investigation_sdk import InvestigationSDK, InvestigationState, LeaseLost, tool
from investigation_sdk.api import create_router
from investigation_sdk.telemetry import Telemetry
from investigation_sdk.telemetry.monitor import Monitor

FOLDER = Path(__file__).parents[2] / "docs" / "howto" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
PANELS = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
QUERIES = [(rule["alert"], rule["expr"]) for rule in RULES] + PANELS


@tool
def fragile(n: int) -> int:
    if n:
        raise ValueError(n)
    return n


@pytest.fixture
def scraped(make_sdk: Callable[..., InvestigationSDK], sqlite_url: str) -> Iterator[dict[str, set[str]]]:
    """Names of what a scrape gives, with the names of its labels, after everything has happened once."""
    provider = MeterProvider([PrometheusMetricReader()])
    sdk = make_sdk(sqlite_url, telemetry=Telemetry(meter_provider=provider))
    for _ in range(2):
        with pytest.raises(ValueError, match="1"), sdk.investigation("s", key="k") as one, one.phase("p"):
            fragile(0)
            one.record("odd", {"object": object()})
            fragile(1)
    with pytest.raises(LeaseLost), sdk.investigation("t") as taken:
        sdk.sync.service.transition_state(taken.id, InvestigationState.FAILED, actor="ann")
        fragile(0)
    sdk.sync.flush()
    monitor = Monitor(sdk, rules=[], sinks=[])
    asyncio.run(monitor.look())
    found: dict[str, set[str]] = {}
    families: list[Metric] = list(REGISTRY.collect())
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    yield found
    asyncio.run(monitor.aclose())
    provider.shutdown()


async def test_a_scrape_of_an_application_that_serves_the_api(make_sdk: Callable[..., InvestigationSDK]) -> None:
    """As the how-to mounts it."""
    provider = MeterProvider([PrometheusMetricReader()])
    sdk = make_sdk("memory://", telemetry=Telemetry(meter_provider=provider))
    app = FastAPI()
    app.include_router(create_router(sdk, allow_anonymous=True))
    app.mount("/metrics", make_asgi_app())
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            made = await client.post("/investigations", json={"subject": "account 42", "investigation_type": "fraud"})
            assert made.status_code == 202, made.text
            scrape = await client.get("/metrics", follow_redirects=True)
    finally:
        provider.shutdown()
    assert scrape.headers["content-type"].startswith("text/plain")
    line = next(line for line in scrape.text.splitlines() if line.startswith("investigation_transitions_total{"))
    assert 'investigation_type="fraud"' in line
    assert line.endswith(" 1.0")


def selectors(node: Any) -> Iterator[tuple[str, set[str]]]:
    """The metrics that a query names, with the labels that it asks for."""
    text = str(node)
    for name, matchers in re.findall(r"\b([a-z_:][a-z0-9_:]*)\{([^}]*)\}", text):
        yield name, set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", matchers))
    for name in re.findall(r"\b((?:investigation|gen_ai)_[a-z0-9_]+)(?=\[|\)|\s|$)", text):
        yield name, set()


def grouped(text: str) -> set[str]:
    return {label.strip() for labels in re.findall(r"by \(([^)]*)\)", text) for label in labels.split(",")}


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[title for title, _ in QUERIES])
def test_each_query_is_promql(title: str, query: str) -> None:
    promql_parser.parse(query.replace("$__rate_interval", "5m"))


def test_each_query_names_what_is_there(scraped: dict[str, set[str]]) -> None:
    used: set[str] = set()
    for title, query in QUERIES:
        text = query.replace("$__rate_interval", "5m")
        named = [(name, labels) for name, labels in selectors(text) if name.startswith(("investigation_", "gen_ai_"))]
        named = [(name, labels) for name, labels in named if name not in grouped(text)]
        assert named, f"{title} names no metric: {query}"
        for name, labels in named:
            assert name in scraped, f"{title} names {name}, which does not come out"
            assert labels <= scraped[name], f"{title} asks {name} for {labels - scraped[name]}"
            used.add(name)
        missing = grouped(text) - set().union(*(scraped[name] for name, _ in named))
        assert not missing, f"{title} groups by {missing}"
    families = {re.sub(r"_(bucket|count|sum|total|created)$", "", name) for name in used}
    ours = {
        re.sub(r"_(bucket|count|sum|total|created)$", "", name)
        for name in scraped
        if name.startswith(("investigation_", "gen_ai_"))
    }
    assert families == ours, "each metric is in a rule or a panel"


def test_rules_and_panels_are_whole() -> None:
    for rule in RULES:
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["labels"]["severity"] in {"info", "warning", "error"}
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}


def test_the_check_would_notice_a_name_that_is_wrong(scraped: dict[str, set[str]]) -> None:
    assert dict(selectors('sum(rate(investigation_nothing{a="b"}[5m]))')) == {"investigation_nothing": {"a"}}
    assert "investigation_nothing" not in scraped
    with pytest.raises(ValueError, match=r"invalid|unexpected|parse|unclosed"):
        promql_parser.parse("sum(rate(x[5m])")
