"""Replay recorded runs of an agent: each an investigation with its tool calls, many at the same time, then checked.

    python examples/replay_agent_runs.py runs.jsonl
    python examples/replay_agent_runs.py runs.jsonl --db sqlite:///runs.db --concurrency 50
    python examples/replay_agent_runs.py runs.jsonl --again        # also those that this store has already

FILE has one run a line, as JSON: {"instruction": "…", "reward": 1.0, "task_id": 0, "trial": 0, "calls": [{"tool": "…",
"arguments": {…}, "output": …}, …]}; of these, "reward", "task_id" and "trial" may be absent. The tools are stand-ins
that answer what the real ones answered. What is measured is therefore the recording itself.

Afterwards everything is read back and compared with FILE, call by call, and each chain of hashes is verified. A line
that is not such a run is named, with the reason, and the others are recorded. A run that is in the store already is
not recorded again, only checked; one that was cut short goes on where it stopped.
Exit status: 0 the store has exactly what FILE has, 1 it has not, 2 it could not be done.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from _run_file import Place, Run, load, survey
from _shared import Parser, input_file, positive, print_next, show, shown
from investigation_sdk import (
    AsyncInvestigationRun,
    BackendUnavailable,
    Investigation,
    InvestigationError,
    InvestigationSDK,
    PhasePlan,
    ToolExecution,
    ToolState,
    agent,
    tool,
)

TYPE = "airline"
PHASE = "conversation"
LISTED = 20  # problems that are printed; more are counted


@dataclass
class Outcome:
    """What came of recording and of checking."""

    ids: dict[str, Place] = field(default_factory=dict)  # investigation -> where its run is
    recorded: int = 0  # runs, now and not before
    waited: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0, 0.0]))  # calls, seconds
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    # What was read back:
    tools: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    rewards: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    equal: int = 0  # calls
    verified: int = 0  # chains
    events: int = 0


# ---- The agent and its tools ----

answer: ContextVar[Any] = ContextVar("answer")  # what the stand-in answers next; each task has its own


@cache
def stand_in(name: str) -> Any:
    """A tool of that name, which takes any arguments and gives the recorded answer."""

    @tool(name=name)
    async def call(**arguments: Any) -> Any:
        return answer.get()

    return call


async def work(scope: AbstractAsyncContextManager[AsyncInvestigationRun], run: Run, outcome: Outcome) -> str:
    """Do what the agent did; returns the id of the investigation."""
    async with scope as inv, agent(f"{TYPE}_agent"):
        if inv.finished:
            return inv.id
        async with inv.phase(PHASE) as phase:
            for number, (name, arguments, output) in enumerate(run.calls, 1):
                answer.set(output)
                begun = time.perf_counter()
                await stand_in(name)(**arguments)
                waited = outcome.waited[name]
                waited[0] += 1
                waited[1] += time.perf_counter() - begun
                phase.progress(number / len(run.calls))
        inv.result = {"calls": len(run.calls), **run.facts}
    outcome.recorded += 1
    return inv.id


async def record(sdk: InvestigationSDK, path: Path, place: Place, outcome: Outcome, *, again: bool) -> None:
    """Record one run, unless the store has it; one that an earlier replay left unfinished is gone on with."""
    run = load(path, place)
    try:
        scope = sdk.investigation(
            run.instruction,
            investigation_type=TYPE,
            key=place.key,
            on_finished="new" if again else "return",
            phases=[PhasePlan(PHASE, tools=sorted({call.tool for call in run.calls}))],
            configuration={"instruction": run.instruction},  # whole: a subject is cut where it is very long
            metadata=run.facts,
        )
        investigation_id = await work(scope, run, outcome)
    except BackendUnavailable:
        raise
    except InvestigationError as error:
        outcome.problems.append(f"line {place.line} was not recorded: {error}")
    else:
        outcome.ids[investigation_id] = place


async def replay(
    sdk: InvestigationSDK, path: Path, places: Sequence[Place], concurrency: int, *, again: bool
) -> Outcome:
    """Record all runs, `concurrency` at a time, then read them back and compare."""
    outcome = Outcome()
    waiting = iter(places)

    async def recorder() -> None:
        for place in waiting:
            await record(sdk, path, place, outcome, again=again)
            show(f"recording: {len(outcome.ids)} of {len(places)} runs, {calls_made(outcome)} calls")

    begun = time.perf_counter()
    await asyncio.gather(*(recorder() for _ in range(min(concurrency, len(places)))))
    outcome.seconds = time.perf_counter() - begun
    before = len(outcome.ids) - outcome.recorded
    known = f", {before} were recorded before" if before else ""
    show(f"recorded: {outcome.recorded} runs with {calls_made(outcome)} calls{known}", end=True)

    missing = dict(outcome.ids)
    async for investigation in listed(sdk, missing):
        await check(sdk, investigation, path, missing.pop(investigation.id), outcome)
        show(f"checking: {len(outcome.ids) - len(missing)} of {len(outcome.ids)} runs")
    outcome.problems += (f"line {place.line}: the list of investigations has no {id}" for id, place in missing.items())
    show(f"checked: {len(outcome.ids) - len(missing)} runs", end=True)
    return outcome


def calls_made(outcome: Outcome) -> int:
    """Calls that were made in this replay."""
    return int(sum(calls for calls, _ in outcome.waited.values()))


# ---- Reading back ----


async def listed(sdk: InvestigationSDK, wanted: dict[str, Place]) -> AsyncIterator[Investigation]:
    """The records of the wanted investigations, from the pages of the list, until all were seen."""
    after: str | None = None
    while wanted:
        page = await sdk.list(investigation_type=TYPE, after=after)
        for investigation in page:
            if investigation.id in wanted:
                yield investigation
        if (after := page.next) is None:
            return


async def calls_of(sdk: InvestigationSDK, investigation_id: str) -> list[ToolExecution]:
    """The calls that ended well, of all attempts: a later one is given back what an earlier one had finished."""
    calls: list[ToolExecution] = []
    after: str | None = None
    while True:
        page = await sdk.tools(investigation_id, status=ToolState.COMPLETED, after=after)
        calls += page
        if (after := page.next) is None:
            return calls


async def check(
    sdk: InvestigationSDK, investigation: Investigation, path: Path, place: Place, outcome: Outcome
) -> None:
    """Compare one investigation with its run, and verify its chain."""
    run, calls = load(path, place), await calls_of(sdk, investigation.id)
    where = f"line {place.line} ({investigation.id})"
    # payload() reads what is large: lists have only a reference to it
    configuration = await sdk.payload(investigation.id, investigation.configuration)
    pairs = [
        ("state", "completed", investigation.status.value),
        ("instruction", run.instruction, configuration.get("instruction")),
        ("metadata", run.facts, await sdk.payload(investigation.id, investigation.metadata)),
        ("number of calls", len(run.calls), len(calls)),
    ]
    outcome.problems += (problem for pair in pairs if (problem := difference(where, *pair)))
    for number, (expected, call) in enumerate(zip(run.calls, calls, strict=False), 1):
        what = f"{where}, call {number} ({shown(expected.tool)})"
        arguments = await sdk.payload(investigation.id, call.input_parameters)
        output = await sdk.payload(investigation.id, call.output_result)
        found = [
            difference(what, "tool", expected.tool, call.tool_name),
            difference(what, "arguments", expected.arguments, arguments),
            difference(what, "output", expected.output, output),
        ]
        outcome.problems += (problem for problem in found if problem)
        outcome.equal += not any(found)
        tally = outcome.tools[call.tool_name]
        tally["calls"] += 1
        tally["failed"] += call.status != "completed"
        tally["errors"] += isinstance(output, str) and output.startswith("Error")
    report = await sdk.verify(investigation.id)
    outcome.verified += report.ok
    outcome.events += report.checked
    outcome.problems += (f"{where}: {problem.message}" for problem in report.problems)
    reward = outcome.rewards[as_json(run.facts.get("reward"))]
    reward["runs"] += 1
    reward["calls"] += len(calls)
    reward["completed"] += investigation.status == "completed"


def as_json(value: Any) -> str:
    """One text for one value: 1, 1.0 and true are three values; the members of an object have no order."""
    return json.dumps(value, default=repr, sort_keys=True)


def difference(where: str, what: str, expected: Any, actual: Any) -> str | None:
    """What differs, in a line."""
    if (one := as_json(expected)) == (other := as_json(actual)):
        return None
    return f"{where}: {what} is {shown(other):.200}, the file has {shown(one):.200}"


# ---- The command ----


def print_summary(
    sdk: InvestigationSDK,
    outcome: Outcome,
    places: Sequence[Place],
    problems: Sequence[str],
    options: argparse.Namespace,
) -> bool:
    """Print what was read back; returns whether all is well."""
    print(f"\n{options.file}: {len(places)} runs\n")
    print(f"{'tool':<30}{'calls':>8}{'failed':>8}{'errors':>8}{'ms/call':>9}")
    for name, tally in sorted(outcome.tools.items(), key=lambda item: (-item[1]["calls"], item[0])):
        made, seconds = outcome.waited.get(name, (0, 0.0))
        pace = f"{1000 * seconds / made:.1f}" if made else "-"
        print(f"{shown(name):<30}{tally['calls']:>8}{tally['failed']:>8}{tally['errors']:>8}{pace:>9}")
    total = sum(outcome.tools.values(), Counter[str]())
    print(f"{'total':<30}{total['calls']:>8}{total['failed']:>8}{total['errors']:>8}")
    print("errors: the tool answered a text that begins with Error; ms/call: with its recording, as the agent waited")

    print(f"\n{'reward':<10}{'runs':>8}{'completed':>11}{'calls':>8}{'calls/run':>11}")
    for reward, tally in sorted(outcome.rewards.items(), reverse=True):
        mean = tally["calls"] / tally["runs"]
        print(f"{shown(reward):<10}{tally['runs']:>8}{tally['completed']:>11}{tally['calls']:>8}{mean:>11.1f}")

    if made := calls_made(outcome):
        rate = made / outcome.seconds
        print(
            f"\nRecorded {outcome.recorded} runs with {made} calls in {outcome.seconds:.2f} s: {rate:,.0f} calls/s, "
            f"{min(options.concurrency, len(places))} runs at a time."
        )
    else:
        print("\nNothing to record: the store has these runs. --again records them once more.")
    checked = sum(tally["runs"] for tally in outcome.rewards.values())
    print(
        f"Read back: {outcome.equal} of {total['calls']} calls exactly as in the file, "
        f"{outcome.verified} of {checked} chains verified ({outcome.events} events)."
    )
    everything = [*problems, *outcome.problems]
    for problem in everything[:LISTED]:
        print(f"  DIFFERENT  {problem}")
    if more := len(everything) - LISTED:
        print(f"  and {more} more" if more > 0 else "", end="\n" if more > 0 else "")
    if outcome.ids:
        print_next(sdk, TYPE, next(iter(outcome.ids)))
    return not everything


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = Parser(description="Replay recorded runs of an agent into a store, and check them there.")
    default = os.environ.get("INVESTIGATION_URL", "sqlite:///agent-runs.db")
    parser.add_argument("file", metavar="FILE", type=Path, help="one run a line, as JSON")
    parser.add_argument("--db", metavar="URL", default=default, help="where to record them (%(default)s)")
    parser.add_argument("--concurrency", metavar="N", type=positive, default=16, help="runs at a time (%(default)s)")
    parser.add_argument("--again", action="store_true", help="also record the runs that the store has already")
    options = parser.parse_args(arguments)
    try:
        places, problems = survey(input_file(parser, options.file))
        for problem in problems[:LISTED]:
            print(f"{parser.prog}: {options.file}: {shown(problem)}", file=sys.stderr)
        if not places:
            parser.error(f"{options.file} has no run in it; see the top of {Path(__file__).name} for what one is")
        with InvestigationSDK(options.db, on_pause="raise", auto_migrate=True) as sdk:
            outcome = asyncio.run(replay(sdk, options.file, places, options.concurrency, again=options.again))
            return 0 if print_summary(sdk, outcome, places, problems, options) else 1
    except (InvestigationError, OSError, ValueError) as error:
        parser.error(shown(error))
    except KeyboardInterrupt:
        show("interrupted; the same command goes on", end=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
