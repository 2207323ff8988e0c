"""A Celery application with investigators, as a user has it: `celery -A tests.dispatch.fleet worker`."""

import asyncio
import os
import signal
import time
from pathlib import Path

from celery import Celery
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from investigation_sdk import AsyncInvestigationRun, InvestigationRun, InvestigationSDK, tool
from investigation_sdk.dispatch import celery as dispatch
from investigation_sdk.dispatch.celery import CeleryDispatcher

dispatch.AGAIN_SECONDS = 1  # type: ignore[misc]  # not ten: somebody waits
FOLDER = Path(os.environ["FLEET_FOLDER"])
STEPS = 30
"""Of a tenth of a second."""

app = Celery("fleet", broker=os.environ["FLEET_BROKER"])
app.conf.broker_transport_options = {
    "visibility_timeout": 3,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}
app.conf.worker_prefetch_multiplier = 1
app.conf.task_soft_time_limit = float(os.environ.get("FLEET_SOFT_LIMIT", "0")) or None
app.conf.broker_connection_retry_on_startup = True
trace.set_tracer_provider(TracerProvider())
sdk = InvestigationSDK(os.environ["FLEET_STORE"], dispatcher=CeleryDispatcher(app), on_pause="raise")


def wrote(name: str, line: str) -> int:
    """Appends a line to a file; how many it has now."""
    with (FOLDER / name).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    return len((FOLDER / name).read_text(encoding="utf-8").splitlines())


@tool(effect="unsafe")
def charge(account: str) -> str:
    wrote("charged", account)
    return f"receipt of {account}"


@tool
def look(account: str) -> int:
    times = wrote("looked", account)
    if account.startswith("kills its process") and times == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if account.startswith("waits"):
        while not (FOLDER / "go").exists():
            time.sleep(0.05)
    return times


@sdk.investigator("phishing", max_recoveries=3)
def phishing(running: InvestigationRun) -> str:
    with running.phase("act"):
        receipt = charge(str(running.configuration["account"]))
        look(str(running.configuration["account"]))
    return receipt


@sdk.investigator("flaky", retries=2)
def flaky(running: InvestigationRun) -> int:
    times = wrote("tried", running.id)
    if times < 3:
        raise ConnectionError(f"the {times}. time")
    return times


@tool(effect="unsafe")
def step(number: int) -> int:
    time.sleep(0.1)
    wrote("stepped", str(number))
    return number


@sdk.investigator("long")
def long(running: InvestigationRun) -> int:
    with running.phase("step"):
        return sum(step(n) for n in range(STEPS))


@sdk.investigator("long async")
async def along(running: AsyncInvestigationRun) -> int:
    async with running.phase("step"):
        total = 0
        for n in range(STEPS):
            await asyncio.sleep(0)
            total += step(STEPS + n)
        return total


@sdk.investigator("stuck", retries=1, timeout=1)
def stuck(running: InvestigationRun) -> int:
    wrote("stuck", str(os.getpid()))
    if running.attempt == 1:
        while not (FOLDER / "go").exists():
            time.sleep(0.05)
    return running.attempt
