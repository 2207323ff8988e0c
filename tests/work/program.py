"""A worker in a process of its own, with handlers that a test asks for by type.

``python program.py URL EFFECTS [option=value …]``, with the options ``clock`` (seconds by which this machine's clock is
wrong), ``concurrency``, ``patience``, ``ttl`` and ``recoveries``.
"""

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

URL, EFFECTS, *OPTIONS = sys.argv[1:]
options = dict(option.split("=") for option in OPTIONS)

from investigation_sdk import clock  # noqa: E402 - before anything takes the right time from it

WRONG_BY = int(float(options.get("clock", "0")) * 1e6)
right = clock.now_us
clock.now_us = lambda: right() + WRONG_BY

from investigation_sdk import AsyncInvestigationRun, InvestigationRun, InvestigationSDK, current_tool, tool  # noqa: E402
from investigation_sdk.work import recovery  # noqa: E402

recovery.FIRST_PAUSE = 0.05  # type: ignore[misc]
sdk = InvestigationSDK(URL, lease_ttl=timedelta(seconds=float(options.get("ttl", "2"))))


def note(line: str) -> None:
    with Path(EFFECTS).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@tool(effect="read")
async def step(case: str, number: int, seconds: float) -> int:
    note(f"{case} {number} {os.getpid()} {current_tool().attempt}")
    await asyncio.sleep(seconds)
    return number


@tool(effect="read")
def blocking_step(case: str, number: int, seconds: float) -> int:
    note(f"{case} {number} {os.getpid()} {current_tool().attempt}")
    time.sleep(seconds)
    return number


@sdk.investigator("async", retries=1, max_recoveries=20)
async def on_the_loop(run: AsyncInvestigationRun) -> int:
    async with run.phase("steps"):
        done = [await step(run.subject, n, run.configuration["seconds"]) for n in range(run.configuration["steps"])]
    if run.configuration.get("fail") and run.attempt == 1:
        raise ConnectionError("the first time")
    return sum(done)


@sdk.investigator("sync", max_recoveries=20)
def on_a_thread(run: InvestigationRun) -> int:
    with run.phase("steps"):
        given = run.configuration
        return sum(blocking_step(run.subject, n, given["seconds"]) for n in range(given["steps"]))


@tool(effect="read")
def not_given_back(x: int) -> object:
    return deque([x])


def poisoned(name: str) -> Callable[[Callable[[InvestigationRun], None]], object]:
    def register(before: Callable[[InvestigationRun], None]) -> object:
        def handler(run: InvestigationRun) -> None:
            before(run)
            poison_now(run)

        return sdk.investigator(name, max_recoveries=int(options.get("recoveries", "2")))(handler)

    return register


def poison_now(run: InvestigationRun) -> None:
    note(f"poison {run.attempt} {os.getpid()}")
    os.kill(os.getpid(), signal.SIGKILL)


@poisoned("poison")
def at_once(run: InvestigationRun) -> None:
    pass


@poisoned("poison_phase")
def after_a_phase(run: InvestigationRun) -> None:
    with run.phase("a"):
        blocking_step("phase", 1, 0)


@poisoned("poison_checkpoint")
def after_checkpoints(run: InvestigationRun) -> None:
    run.checkpoint("first")
    run.checkpoint("second")


@poisoned("poison_result")
def after_a_result(run: InvestigationRun) -> None:
    not_given_back(1)


if __name__ == "__main__":
    patience = timedelta(seconds=float(options.get("patience", "60")))
    sdk.worker(concurrency=int(options.get("concurrency", "10")), patience=patience).run()
    sdk.sync.close()
