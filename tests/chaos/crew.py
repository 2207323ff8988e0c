"""A worker that is killed: ``python crew.py URL EFFECTS``. Each body says there when it begins and when it ends."""

import asyncio
import os
import random
import sys

from investigation_sdk import AsyncInvestigationRun, InvestigationSDK, current_tool, tool

CALLS = 20
AT_ONCE = 2
"""So few, that all 100 take longer than the kills do."""

URL, EFFECTS = sys.argv[1:]
sdk = InvestigationSDK(URL)


def note(what: str, case: str, number: int) -> None:
    """A line in one write."""
    file = os.open(EFFECTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{what} {case} {number} {current_tool().attempt} {os.getpid()}\n".encode())
    os.close(file)


@tool(effect="read")
async def step(case: str, number: int) -> int:
    """20 to 200 ms, the same each time."""
    note("begin", case, number)
    await asyncio.sleep(random.Random(f"{case} {number}").uniform(0.02, 0.2))
    note("end", case, number)
    return number


@sdk.investigator("crew", max_recoveries=1000)
async def crew(run: AsyncInvestigationRun) -> int:
    """20 calls, one after another."""
    return sum([await step(run.subject, n) for n in range(CALLS)])


if __name__ == "__main__":
    sdk.worker(concurrency=AT_ONCE).run()
    sdk.sync.close()
