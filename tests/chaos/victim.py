"""An agent that is killed: ``python victim.py URL EFFECTS KILL``.

URL is of the store. Each body that runs adds a line to the file EFFECTS before it does anything else. KILL is
``before:N`` or ``after:N``: the process kills itself there, at its N-th commit; or ``never``. Exit status 3: it was
asked what became of an unsafe call, whose id it prints.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from investigation_sdk import InvestigationSDK, UnknownOutcome, tool
from investigation_sdk.storage.registry import create_backend

EFFECTS = ""


def effect(line: str) -> None:
    file = os.open(EFFECTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{line}\n".encode())
    os.close(file)


@tool(effect="read")
async def read(n: int) -> dict[str, int]:
    effect(f"read {n}")
    return {"n": n}


@tool
def think(about: list[int]) -> str:
    effect(f"think {about}")
    return "guilty"


@tool(effect="idempotent")
async def ticket(title: str) -> str:
    effect(f"ticket {title}")
    await asyncio.sleep(0)
    return f"T-{title}"


@tool(effect="unsafe", identity=["account"])
def freeze(account: str, reason: str) -> bool:
    effect(f"freeze {account}")
    return True


def killing(backend: Any, kill: str) -> Any:
    """The backend, which kills this process at one of its commits."""
    where, _, nth = kill.partition(":")
    commit = backend.commit
    seen = 0

    async def killed(commits: Sequence[Any]) -> Any:
        nonlocal seen
        seen += 1
        if where == "before" and seen == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await commit(commits)
        if where == "after" and seen == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    backend.commit = killed
    return backend


async def main(url: str, kill: str) -> int:
    async with InvestigationSDK(killing(create_backend(url), kill)) as sdk:
        try:
            async with sdk.investigation("victim", key="v") as run:
                if run.finished:
                    return 0
                async with run.phase("gather") as gather:
                    found = [(await read(n))["n"] for n in range(3)]
                    gather.output_data = found
                verdict = think(found)
                async with run.phase("act"):
                    tickets = await asyncio.gather(*(ticket(title) for title in "abc"))
                    await run.checkpoint({"tickets": tickets})
                    done = freeze("42", verdict)
                run.result = {"found": found, "verdict": verdict, "tickets": tickets, "frozen": done}
        except UnknownOutcome as unknown:
            sys.stdout.write(unknown.call_id)
            return 3
    return 0


if __name__ == "__main__":
    url, EFFECTS, kill = sys.argv[1:]
    sys.exit(asyncio.run(main(url, kill)))
