"""The record of a process that forks, ends, is terminated, or is killed; always on SQLite."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk import InvestigationSDK, InvestigationState, ToolState, tool
from tests.engine.invariants import check_backend

PRELUDE = """
import os, signal, sys, time
from investigation_sdk import Durability, InvestigationSDK, tool

@tool
def step(n):
    return {"n": n}

def say(*words):
    sys.stdout.write(" ".join(str(word) for word in words) + "\\n")
    sys.stdout.flush()

"""


class Child:
    """A Python process that runs some lines; its first line of output is the investigation's id."""

    def __init__(self, url: str, lines: str) -> None:
        script = f"{PRELUDE}\nURL = {url!r}\n{textwrap.dedent(lines)}"
        self.process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        self.id = self.line()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, number: int | None = None) -> list[str]:
        """Wait until it has ended, by a signal if given; what else it said."""
        if number is not None:
            self.process.send_signal(number)
        assert self.process.stdout is not None
        lines = self.process.stdout.read().split("\n")
        self.process.wait(30)
        self.process.stdout.close()
        return [line for line in lines if line]


@pytest.fixture
def child(sqlite_url):
    made: list[Child] = []

    def start(lines: str) -> Child:
        made.append(Child(sqlite_url, lines))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
        assert each.process.stdout is not None
        each.process.stdout.close()


async def checked(url: str, id: str):
    """The whole log, everything checked that must be true of it and of the rows."""
    backend = SQLiteBackend(url.removeprefix("sqlite:///"))
    await backend.open()
    try:
        return await check_backend(backend, id)
    finally:
        await backend.close()


def test_what_is_batched_is_flushed_at_exit(child, sqlite_url):
    process = child("""
        sdk = InvestigationSDK(URL, durability=Durability.BATCHED)
        block = sdk.investigation("batched")
        investigation = block.__enter__()
        say(investigation.id)
        for n in range(50):
            step(n)
        sys.exit(0)  # inside the block, the store open
    """)
    assert process.end() == []
    assert process.process.returncode == 0
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM investigation_events WHERE event_type = 'tool.completed'"
        ).fetchone()
    connection.close()
    assert count == 50


async def test_sigterm_reaches_a_recorded_state(child, sqlite_url):
    process = child("""
        sdk = InvestigationSDK(URL)

        @tool
        def long(seconds):
            say("begun")
            time.sleep(seconds)

        with sdk.investigation("terminated") as investigation:
            say(investigation.id)
            with investigation.phase("work"):
                long(60)
    """)
    assert process.line() == "begun"
    process.end(signal.SIGTERM)
    assert process.process.returncode == 128 + signal.SIGTERM
    log = await checked(sqlite_url, process.id)
    assert log.fold.status is InvestigationState.FAILED
    assert log.fold.failure_kind == "interrupted"
    assert log.fold.token is None
    assert not log.fold.calls
    assert "tool.interrupted" in [event.type for event in log.events.values()]


@pytest.mark.parametrize("durability", ["SYNC", "STRICT"])
async def test_after_a_kill_everything_acknowledged_is_there_once(child, sqlite_url, make_sdk, durability):
    process = child(f"""
        sdk = InvestigationSDK(URL, durability=Durability.{durability})
        with sdk.investigation("killed") as investigation:
            say(investigation.id)
            for n in range(100_000):
                step(n)
                say(n)
    """)
    for _ in range(40):
        process.line()
    rest = process.end(signal.SIGKILL)
    known = {*range(40), *(int(line) for line in rest[:-1])}
    log = await checked(sqlite_url, process.id)
    outputs = [event.data["output"] for event in log.events.values() if event.type == "tool.completed"]
    assert outputs[: len(known)] == [f'{{"n":{n}}}' for n in sorted(known)]
    assert len(outputs) == len(set(outputs))

    sdk = make_sdk(sqlite_url)
    async with sdk.attach(process.id) as investigation:  # at once: its owner is dead, and that is seen
        assert investigation.attempt == 2
    record = await sdk.get(process.id)
    assert record.status is InvestigationState.COMPLETED
    crashed = await sdk.tools(process.id, status=ToolState.INTERRUPTED)
    assert len(crashed) <= 1
    log = await checked(sqlite_url, process.id)
    assert [e.data["kind"] for e in log.events.values() if e.type == "investigation.failed"] == ["crashed"]


async def test_a_forked_child_starts_clean(sqlite_url, tmp_path, make_sdk):
    @tool
    def step(n):
        return n

    theirs = f"sqlite:///{tmp_path}/child.db"
    sdk, in_child = make_sdk(sqlite_url), InvestigationSDK(theirs)
    with sdk.investigation("parent") as investigation:
        step(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12: forking with threads
            pid = os.fork()
        if pid == 0:
            _in_the_child(in_child, step)
        assert exit_code(pid) == 0
        step(2)
    log = await checked(sqlite_url, investigation.id)
    assert [e.data["output"] for e in log.events.values() if e.type == "tool.completed"] == ["1", "2"]
    assert log.fold.status is InvestigationState.COMPLETED
    (childs,) = await make_sdk(theirs).list()
    assert childs.status is InvestigationState.COMPLETED
    await checked(theirs, str(childs.id))


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _in_the_child(sdk, step) -> None:
    """Runs in the forked child, and never returns."""
    code = 1
    try:
        step(99)  # in the parent's block, of which nothing is written here
        with sdk.investigation("child"):
            step(3)
        sdk.sync.close()
        code = 0
    finally:
        os._exit(code)


def test_the_file_is_made_where_it_is_said(sqlite_url, make_sdk):
    make_sdk(sqlite_url).sync.list()
    assert Path(sqlite_url.removeprefix("sqlite:///")).exists()


def test_in_a_forked_child_the_parents_block_says_so_and_nothing_of_it_runs_on(child, sqlite_url):
    started = child(
        """
        import asyncio
        from investigation_sdk import InvestigationError
        sdk = InvestigationSDK(URL)
        called = []
        sdk.service.on_state()(lambda investigation, event: called.append(os.getpid()))
        with sdk.investigation("parent") as run:
            say(run.id)
            pid = os.fork()
            if not pid:
                said = []
                enter = lambda: run.phase("p").__enter__()
                for attempt in (lambda: run.checkpoint(1), lambda: run.record("my.note"), enter):
                    try:
                        attempt()
                        said.append("silent")
                    except InvestigationError as error:
                        said.append("forked" if "was forked" in str(error) else str(error))
                said.append(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
                time.sleep(0.3)
                said.append(os.getpid() in called)
                say(*said)
                os._exit(0)
            os.waitpid(pid, 0)
            step(1)
        """,
    )
    assert started.end() == ["forked forked forked True False"]
    with InvestigationSDK(sqlite_url) as sdk:
        assert sdk.sync.get(started.id).status == "completed"
        types = [event.event_type for event in sdk.sync.iter_events(started.id)]
        assert not {"my.note", "checkpoint.saved", "phase.started"} & set(types)
