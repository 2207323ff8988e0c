"""Worker processes for tests."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROGRAM = Path(__file__).with_name("program.py")
LONG = 60.0
"""Seconds that anything here may take on a machine that does other things."""


def start(url: str, effects: Path, **options: object) -> "subprocess.Popen[str]":
    given = [f"{name}={value}" for name, value in options.items()]
    command = [sys.executable, str(PROGRAM), url, str(effects), *given]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def end(process: "subprocess.Popen[str]") -> None:
    """Whatever became of the test."""
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=LONG)


def notes(effects: Path) -> list[str]:
    """What the handlers of all processes noted."""
    return effects.read_text(encoding="utf-8").splitlines() if effects.exists() else []


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, f"within {LONG:g} s not: {what}"
        time.sleep(0.02)
