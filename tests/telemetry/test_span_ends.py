"""Every span that begins ends, and what was current before a block is current after it, however blocks are left."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import StatusCode

from investigation_sdk import (
    InvestigationBusy,
    InvestigationFinished,
    InvestigationNotFound,
    InvestigationSDK,
    current_tool,
    tool,
)
from tests.telemetry import airline
from tests.telemetry.collected import Collected, own, parent, said

Make = Callable[..., InvestigationSDK]


class Counting(SpanProcessor):
    """Of spans that began, how many have not ended."""

    def __init__(self) -> None:
        self.open = 0

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.open += 1

    def on_end(self, span: Any) -> None:
        self.open -= 1


@pytest.fixture
def counting(otel: Collected) -> Counting:
    processor = Counting()
    otel.tracer_provider.add_span_processor(processor)
    return processor


@tool
def look(name: str) -> str:
    return name.upper()


@tool
def refuse() -> None:
    raise LookupError("nobody there")


@tool
async def wait_for(begun: asyncio.Event, event: asyncio.Event) -> None:
    begun.set()
    await event.wait()


def current() -> int:
    """Id of the span that is current; 0 where none is."""
    return trace.get_current_span().get_span_context().span_id


async def test_a_block_that_goes_on_with_what_its_key_names_has_one_span(
    traced: InvestigationSDK, otel: Collected, counting: Counting
) -> None:
    ids = []
    for _ in range(2):
        with pytest.raises(LookupError):
            async with traced.investigation("s", key="k", investigation_type="fraud") as investigation:
                ids.append(investigation.id)
                refuse()
    async with traced.investigation("s", key="k", investigation_type="fraud"):
        pass
    async with traced.investigation("s", key="k", investigation_type="fraud") as finished:
        assert finished.finished
    first, second, third, *others = otel.named("invoke_workflow fraud")  # the last, if it began to create one
    assert counting.open == 0
    assert [said(span)["investigation.attempt"] for span in (first, second, third)] == [1, 2, 3]
    assert [[link.context.span_id for link in span.links] for span in (second, third)] == [[own(first)], [own(second)]]
    assert {said(span)["investigation.id"] for span in (first, second, third, *others)} == set(ids)
    assert {said(span)["gen_ai.conversation.id"] for span in (first, second, third, *others)} == set(ids)
    outcomes = [said(span)["investigation.outcome"] for span in (first, second, third, *others)]
    assert outcomes in [["failed", "failed", "completed", *more] for more in ([], ["finished_before"])]
    started = await traced.events(ids[0], event_type="investigation.started")
    noted = [event.metadata["trace"]["traceparent"].split("-")[2] for event in started]
    assert noted == [format(own(span), "016x") for span in (first, second, third)]
    assert sum(n for _, (n, _) in otel.points("gen_ai.workflow.duration")) == 3


async def test_a_block_that_cannot_be_opened(otel: Collected, counting: Counting, make_sdk: Make) -> None:
    sdk = make_sdk("memory://", telemetry=otel.options())
    async with sdk.investigation("s", key="k") as held:
        with pytest.raises(InvestigationBusy):
            async with sdk.investigation("s", key="k", wait=timedelta(0)):
                pass
        with pytest.raises(InvestigationBusy):
            async with sdk.attach(held.id, wait=timedelta(0)):
                pass
    with pytest.raises(InvestigationFinished):
        async with sdk.investigation("s", key="k", on_finished="error"):
            pass
    with pytest.raises(InvestigationNotFound):
        async with sdk.attach("0199a2a4-0000-7000-8000-000000000000"):
            pass
    busy, good, finished = otel.named("invoke_workflow general")
    assert counting.open == 0
    for span, error in ((busy, "InvestigationBusy"), (finished, "InvestigationFinished")):
        assert said(span)["investigation.id"] == held.id
        assert said(span)["investigation.outcome"] == "not_opened"
        assert said(span)["error.type"] == error
        assert span.status.status_code is StatusCode.ERROR
    assert said(good)["investigation.outcome"] == "completed"
    assert [n for _, (n, _) in otel.points("gen_ai.workflow.duration")] == [1]


def test_blocks_left_in_the_order_in_which_they_were_entered(
    otel: Collected, counting: Counting, make_sdk: Make
) -> None:
    sdk = make_sdk("memory://", telemetry=otel.options())
    one, other, third = (sdk.investigation(name, investigation_type=name) for name in ("one", "other", "third"))
    one.__enter__()
    other.__enter__()
    inside = current()
    one.__exit__(None, None, None)
    assert current() == inside
    third.__enter__()
    other.__exit__(None, None, None)
    third.__exit__(None, None, None)
    assert current() == 0
    assert otel_context.get_current() == {}
    assert counting.open == 0
    assert [parent(otel.one(f"invoke_workflow {name}")) for name in ("one", "other", "third")] == [
        None,
        own(otel.one("invoke_workflow one")),
        own(otel.one("invoke_workflow other")),
    ]


def test_blocks_that_overlap_for_ever_hold_no_more_than_themselves(otel: Collected, make_sdk: Make) -> None:
    sdk = make_sdk("memory://", telemetry=otel.options())
    before = sdk.investigation("0")
    before.__enter__()
    for n in range(5):
        after = sdk.investigation(f"{n + 1}")
        after.__enter__()
        before.__exit__(None, None, None)
        before = after
    trace_of_last: Any = before._driver.trace  # type: ignore[union-attr]
    behind = 0
    while trace_of_last.outer is not None:
        trace_of_last, behind = trace_of_last.outer, behind + 1
    assert behind == 1
    before.__exit__(None, None, None)
    assert current() == 0


def test_a_phase_that_is_not_left(traced: InvestigationSDK, otel: Collected, counting: Counting) -> None:
    with otel.tracer_provider.get_tracer("user").start_as_current_span("around"):
        here = current()
        with traced.investigation("s") as investigation:
            phase = investigation.phase("p")
            phase.__enter__()
            assert look("a") == "A"
        assert current() == here
        phase.__exit__(None, None, None)
        assert current() == here
    assert counting.open == 0
    left = otel.one("investigation.phase p")
    assert said(left)["investigation.outcome"] == "interrupted"
    assert parent(otel.one("execute_tool look")) == own(left)
    types = [event.event_type for event in traced.sync.events(investigation.id)]
    assert types.count("phase.interrupted") == 1


def test_what_a_body_entered_is_over_with_it(otel: Collected, counting: Counting, make_sdk: Make) -> None:
    sdk = make_sdk("memory://", telemetry=otel.options())
    user = otel.tracer_provider.get_tracer("user")

    @tool
    def opens(name: str) -> Any:
        phase = investigation.phase(name)
        phase.__enter__()
        return phase

    @tool
    def carries() -> None:
        otel_context.attach(baggage.set_baggage("a", "b"))

    with sdk.investigation("s") as investigation:
        here = current()
        phases = [opens("p"), opens("q")]
        assert current() == here
        carries()
        assert current() == here
        with user.start_as_current_span("mine"):
            look("a")
        for phase in phases:
            phase.__exit__(None, None, None)
            assert current() == here
    assert current() == 0
    assert counting.open == 0
    assert parent(otel.one("mine")) == own(otel.one("invoke_workflow general"))


async def test_an_interrupted_call_is_neither_a_success_nor_a_failure(
    traced: InvestigationSDK, otel: Collected, counting: Counting
) -> None:
    block = traced.investigation("s", investigation_type="airline")
    async with block as investigation, investigation.phase("conversation"):
        begun = asyncio.Event()
        running = asyncio.create_task(wait_for(begun, asyncio.Event()))
        await asyncio.wait_for(begun.wait(), 60)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        with pytest.raises(LookupError):
            refuse()
        assert look("a") == "A"
    assert await airline.compare(traced, [investigation.id], airline.collected(otel.spans)) == 3
    assert counting.open == 0
    ended = {
        of["gen_ai.tool.name"]: (of["investigation.outcome"], of.get("error.type"))
        for of, _ in otel.points("gen_ai.execute_tool.duration")
    }
    assert ended == {
        "wait_for": ("interrupted", None),
        "refuse": ("failed", "LookupError"),
        "look": ("completed", None),
    }


async def test_a_pause_is_no_time_of_the_workflow(traced: InvestigationSDK, otel: Collected) -> None:
    async def resume_later(id: str) -> None:
        while (await traced.get(id)).status != "paused":  # noqa: ASYNC110 - of a store, that tells nobody
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        await traced.service.resume(id)

    async with traced.investigation("s") as investigation:
        resumes = asyncio.create_task(resume_later(investigation.id))
        await asyncio.wait_for(investigation.pause(), 60)
        await asyncio.wait_for(resumes, 60)
        assert look("a") == "A"
    span = otel.one("invoke_workflow general")
    assert span.start_time is not None
    assert span.end_time is not None
    paused = said(span)["investigation.paused.duration"]
    assert paused >= 0.15
    ((_, (_, seconds)),) = otel.points("gen_ai.workflow.duration")
    assert seconds <= (span.end_time - span.start_time) / 1e9 - 0.15


async def test_what_was_used_is_said_of_the_call_and_summed_for_the_block(
    traced: InvestigationSDK, otel: Collected
) -> None:
    @tool
    def asks(n: int) -> None:
        current_tool().report(input_tokens=n, output_tokens=1, cost_estimate=0.1)

    async with traced.investigation("s") as investigation:
        asks(10)
        asks(20)
        investigation.report(input_tokens=5, tokens_used=3, api_calls_made=1, cost_estimate=0.1)
    first, second = otel.named("execute_tool asks")
    assert said(first)["gen_ai.usage.input_tokens"] == 10
    assert said(second)["gen_ai.usage.output_tokens"] == 1
    assert said(second)["investigation.usage.tokens_used"] == 21
    used = {name: value for name, value in said(otel.one("invoke_workflow general")).items() if ".usage." in name}
    assert used == {
        "gen_ai.usage.input_tokens": 35,
        "gen_ai.usage.output_tokens": 2,
        "investigation.usage.tokens_used": 40,
        "investigation.usage.api_calls_made": 1,
        "investigation.usage.cost_estimate": 0.3,
    }
    assert (await traced.get(investigation.id)).usage.tokens_used == 40
