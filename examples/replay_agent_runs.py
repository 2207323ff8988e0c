"""Replay recorded runs of an agent: each an investigation with its tool calls, many at the same time, then checked.

    python examples/replay_agent_runs.py runs.jsonl
    python examples/replay_agent_runs.py runs.jsonl --db sqlite:///runs.db --concurrency 50
    python examples/replay_agent_runs.py runs.jsonl --again        # also those that this store has already

FILE has one run a line, as JSON: {"instruction": "…", "reward": 1.0, "task_id": 0, "trial": 0, "calls": [{"tool": "…",
"arguments": {…}, "output": …}, …]}; of these, "reward", "task_id" and "trial" may be absent. The tools are stand-ins
that answer what the real ones answered. What is measured is therefore the recording itself.

Afterwards everything is read back and compared with FILE, call by call, and each chain of hashes is verified. A line
that is not such a run is named, with the reason, and the others are recorded. A run that is in the store already is
not recorded again, only checked; one that was cut short is taken over and run anew.
Exit status: 0 the store has exactly what FILE has, 1 it has not, 2 it could not be done.
"""

import asyncio
import hashlib
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
from typing import Any, NamedTuple

from _shared import Parser, input_file, positive, print_next, show, shown
from investigation_sdk import (
    AsyncInvestigationRun,
    BackendUnavailable,
    Investigation,
    InvestigationError,
    InvestigationSDK,
    InvestigationUnfinished,
    PhasePlan,
    ToolExecution,
    agent,
    tool,
)

TYPE = "airline"
PHASE = "conversation"
LINE_LIMIT = 64 * 2**20  # bytes; a longer line is not read as a whole
LISTED = 20  # problems that are printed; more are counted


class Call(NamedTuple):
    """One call as it is in the file."""

    tool: str
    arguments: dict[str, Any]
    output: Any


class Run(NamedTuple):
    """One line of the file."""

    instruction: str
    calls: list[Call]
    facts: dict[str, Any]  # task_id, trial and reward, those that there are


class Place(NamedTuple):
    """Where a run is in the file, so that not all of them are held in memory."""

    line: int
    offset: int
    key: str  # the digest of the line; of equal lines each has its own


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


# ---- The file ----


def parse(line: bytes) -> Run:
    """One line.

    Raises:
        ValueError: it is not a run; the message says why.
    """
    try:
        run = json.loads(line, object_pairs_hook=_unambiguous)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(run, dict):
        raise ValueError("is not an object")  # noqa: TRY004 - of a file's content, not of a program's argument
    if not isinstance(instruction := run.get("instruction"), str) or not instruction:
        raise ValueError('has no text as "instruction"')
    if not isinstance(calls := run.get("calls"), list):
        raise ValueError('has no list as "calls"')  # noqa: TRY004 - as above
    facts = {name: run[name] for name in ("task_id", "trial", "reward") if name in run}
    return Run(instruction, [_call(number, call) for number, call in enumerate(calls, 1)], facts)


def _call(number: int, call: Any) -> Call:
    if not isinstance(call, dict) or not {"tool", "arguments", "output"} <= call.keys():
        raise ValueError(f'call {number} has not all of "tool", "arguments" and "output"')
    if not isinstance(call["tool"], str) or not call["tool"]:
        raise ValueError(f'call {number} has no text as "tool"')
    if not isinstance(call["arguments"], dict):
        raise ValueError(f'call {number} has no object as "arguments"')  # noqa: TRY004 - as above
    return Call(call["tool"], call["arguments"], call["output"])


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"an object has {twice!r} twice")
    return members


def survey(path: Path) -> tuple[list[Place], list[str]]:
    """Where the runs are, and what is wrong with the lines that are none."""
    places, problems, seen = [], [], Counter[str]()
    with path.open("rb") as file:
        offset, number = 0, 0
        while line := file.readline(LINE_LIMIT):
            number += 1
            try:
                if len(line) == LINE_LIMIT:
                    while (rest := file.readline(LINE_LIMIT)) and not rest.endswith(b"\n"):
                        pass
                    raise ValueError(f"is longer than {LINE_LIMIT:,} bytes")
                if line.strip():
                    parse(line)
                    seen[digest := hashlib.sha256(line.strip()).hexdigest()] += 1
                    key = digest if seen[digest] == 1 else f"{digest}#{seen[digest]}"
                    places.append(Place(number, offset, key))
            except ValueError as error:
                problems.append(f"line {number} {error}; it is not recorded")
            offset = file.tell()
    return places, problems


def load(path: Path, place: Place) -> Run:
    """The run at a place that :func:`survey` found.

    Raises:
        ValueError: the file has been changed since.
    """
    with path.open("rb") as file:
        file.seek(place.offset)
        line = file.readline(LINE_LIMIT)
    if hashlib.sha256(line.strip()).hexdigest() != place.key.partition("#")[0]:
        raise ValueError(f"{path} was changed while it was replayed: line {place.line} is another now")
    return parse(line)


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
    """Record one run, unless the store has it; one that an earlier replay left unfinished is taken over."""
    run = load(path, place)
    try:
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
        except InvestigationUnfinished as unfinished:
            investigation_id = await work(sdk.attach(str(unfinished.investigation_id)), run, outcome)
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
    """The calls of the last attempt: one that was cut short left calls, too."""
    calls: list[ToolExecution] = []
    after: str | None = None
    while True:
        page = await sdk.tools(investigation_id, after=after)
        calls += page
        if (after := page.next) is None:
            last = max((call.attempt for call in calls), default=0)
            return [call for call in calls if call.attempt == last]


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


def print_summary(outcome: Outcome, places: Sequence[Place], problems: Sequence[str], options: Any) -> bool:
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
    print_next(options.db, TYPE, next(iter(outcome.ids), None))
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
        with InvestigationSDK(options.db, on_pause="raise") as sdk:
            outcome = asyncio.run(replay(sdk, options.file, places, options.concurrency, again=options.again))
            return 0 if print_summary(outcome, places, problems, options) else 1
    except (InvestigationError, OSError, ValueError) as error:
        parser.error(shown(error))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
