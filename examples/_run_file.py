"""Reads a file of recorded runs of an agent, one a line, as JSON."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

LINE_LIMIT = 64 * 2**20  # bytes; a longer line is not read as a whole


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
    digest: str  # of the line
    key: str  # names the run in the store; of equal lines each has its own


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
                    facts = parse(line).facts
                    seen[digest := hashlib.sha256(line.strip()).hexdigest()] += 1
                    named = [f"{name}-{facts[name]}" for name in ("task_id", "trial") if type(facts.get(name)) is int]
                    again = [str(seen[digest])] if seen[digest] > 1 else []
                    places.append(Place(number, offset, digest, "-".join([*named, digest[:16], *again])))
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
    if hashlib.sha256(line.strip()).hexdigest() != place.digest:
        raise ValueError(f"{path} was changed while it was replayed: line {place.line} is another now")
    return parse(line)
