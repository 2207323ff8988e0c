"""Processes that are killed, many after one another: ``python lives.py real|noop|race …``; what it did, as JSON.

Each life is a fork of this process, which has imported everything and opened nothing, so that a life costs
milliseconds. A body that runs adds a line ``number attempt`` to the file of effects before it does anything else.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import investigation_backends.mongo
import investigation_backends.postgres
import investigation_backends.sqlite  # noqa: F401 - every life would import them
from investigation_sdk import InvestigationBusy, InvestigationSDK, Resolution, current_tool, tool

KILLED_AT = 200
"""The experiment with no-op tools: so many calls return, then the process is killed."""
NOOPS = 250
REPEATS = 10
LIFE_SECONDS = 60

effects = Path()
number: ContextVar[int] = ContextVar("number")
output: ContextVar[Any] = ContextVar("output")


def effect() -> None:
    """Write down, outside of the record, that a body runs."""
    line = f"{number.get()} {current_tool().attempt}\n"
    file = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)
    before_end()


def before_end() -> None:
    """What :func:`real` puts here."""


def die() -> None:
    """As a power cut: nothing is said, nothing is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)


def say(line: str) -> None:
    """A line to whoever started this."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def live(body: Callable[[], None]) -> int:
    """Run it in a process of its own; how that ended: 0, or the negative number of the signal."""
    pid = os.fork()
    if pid == 0:
        try:
            body()
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    until = time.monotonic() + LIFE_SECONDS
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise SystemExit(f"a life did not end within {LIFE_SECONDS} s")
        time.sleep(0.001)


# ---- the calls of real agents, killed at any moment


def _reconcile(**_: Any) -> Resolution:
    done = any(line.split()[0] == str(number.get()) for line in effects.read_text(encoding="utf-8").splitlines())
    return Resolution(outcome="succeeded", result=output.get()) if done else Resolution(outcome="not_executed")


@cache
def stand_in(name: str) -> Any:
    """A tool of that name which answers what the real one did; what changes a booking is unsafe."""
    unsafe = name.startswith(("book", "cancel", "update", "send", "transfer"))

    @tool(name=name, effect="unsafe" if unsafe else "read", reconcile=_reconcile if unsafe else None)
    async def call(**arguments: Any) -> Any:
        effect()
        return output.get()

    return call


def real(url: str, data: str, limit: str, kills: str, seed: str) -> dict[str, int]:
    """The recorded runs of agents, all in one investigation, a phase for each; so many kills, then to its end."""
    dice = random.Random(int(seed))
    runs = [json.loads(line)["calls"] for line in Path(data).read_text(encoding="utf-8").splitlines()]
    calls = 0
    taken = []
    for run in runs:
        if calls >= int(limit):
            break
        taken.append(run)
        calls += len(run)

    async def replay() -> None:
        async with InvestigationSDK(url) as sdk, sdk.investigation("real calls", key="real") as investigation:
            counter = 0
            for at, run in enumerate(taken):
                async with investigation.phase(f"run {at}"):
                    for call in run:
                        number.set(counter)
                        output.set(call["output"])
                        counter += 1
                        if await stand_in(call["tool"])(**call["arguments"]) != call["output"]:
                            raise AssertionError(f"call {counter - 1} gave back something else")

    def mortal() -> None:
        left, moment = dice.randint(1, 4), dice.uniform(0, 0.004)

        def count() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                threading.Timer(moment, die).start()

        globals()["before_end"] = count
        asyncio.run(replay())

    killed = 0
    for _ in range(int(kills)):
        dice.random()  # each life has dice of its own
        status = live(mortal)
        if status not in (0, -signal.SIGKILL):
            raise SystemExit(f"a life ended with {status}")
        killed += status == -signal.SIGKILL
    if live(lambda: asyncio.run(replay())):
        raise SystemExit("the last life did not end well")
    return {"kills": killed, "calls": calls}


# ---- no-op tools, killed after call 200


@tool(effect="read")
async def noop(n: int) -> int:
    """Does nothing, but that it ran is written down."""
    number.set(n)
    effect()
    return n


def noops(url: str) -> dict[str, int]:
    """Killed as soon as call 200 has returned, and gone on with, ten times."""

    async def run(key: str, *, dies: bool) -> None:
        async with InvestigationSDK(url) as sdk, sdk.investigation("no-op tools", key=key):
            for n in range(NOOPS):
                await noop(n)
                if dies and n == KILLED_AT - 1:
                    die()

    for turn in range(REPEATS):
        globals()["effects"] = effects.with_name(f"noops {turn}")
        if live(lambda key=f"noops {turn}": asyncio.run(run(key, dies=True))) != -signal.SIGKILL:  # type: ignore[misc]
            raise SystemExit("it was not killed")
        if live(lambda key=f"noops {turn}": asyncio.run(run(key, dies=False))):  # type: ignore[misc]
            raise SystemExit("it was not gone on with")
    return {"killed": REPEATS}


# ---- two that resume one id


@tool(effect="read")
def look(n: int) -> int:
    """Finished before the crash."""
    return n


@tool(effect="unsafe")
def act(n: int) -> str:
    """Must be done once."""
    number.set(n)
    effect()
    return "done"


def abandon(url: str, count: str) -> dict[str, list[str]]:
    """So many investigations that are begun by a process that is killed; their ids."""
    told, tell = os.pipe()

    def begin() -> None:
        with InvestigationSDK(url) as sdk, contextlib.ExitStack() as stack:
            for n in range(int(count)):
                investigation = stack.enter_context(sdk.investigation("abandoned", key=f"race {n}"))
                look(n)
                os.write(tell, f"{investigation.id}\n".encode())
            sdk.sync.flush()
            die()

    if live(begin) != -signal.SIGKILL:
        raise SystemExit("it was not killed")
    os.close(tell)
    with os.fdopen(told) as pipe:
        return {"ids": pipe.read().split()}


def race(url: str) -> None:
    """For each line ``n id`` on stdin: try to drive it; says ``in`` or ``busy``. In, it acts once it is told to."""
    with InvestigationSDK(url) as sdk:
        say("ready")
        while line := sys.stdin.readline():
            n, id = line.split()
            try:
                with sdk.attach(id, wait=timedelta(0)) as run:
                    say("in")
                    sys.stdin.readline()
                    look(int(n))
                    run.result = act(int(n))
            except InvestigationBusy:
                say("busy")
            else:
                say("done")


if __name__ == "__main__":
    mode, url, file, *rest = sys.argv[1:]
    effects = Path(file)
    modes: dict[str, Callable[..., Any]] = {"real": real, "noops": noops, "abandon": abandon, "race": race}
    answer = modes[mode](url, *rest)
    if answer is not None:
        say(json.dumps(answer))
