"""What ``import investigation_sdk`` costs, beside ``import pydantic``: each in a fresh interpreter, taking turns."""

from __future__ import annotations

import statistics
import subprocess
import sys

from tests.benchmarks.measuring import judged

_CODE = "import time; t = time.perf_counter(); import {0}; {1}; print(time.perf_counter() - t)"
_NAMES = {"investigation_sdk": "investigation_sdk.InvestigationSDK", "pydantic": "pydantic.BaseModel"}


def once(module: str, use: str) -> float:
    """Seconds to import a module and evaluate `use`."""
    code = _CODE.format(module, use)
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def report(rounds: int) -> None:
    """Print both, bare and with the main name in use, and the ratios."""
    print(f"\nimport, ms, median of {rounds} interleaved fresh interpreters")
    for what, uses in (("bare", dict.fromkeys(_NAMES, "0")), ("with the main name used", _NAMES)):
        pairs = [tuple(once(module, use) for module, use in uses.items()) for _ in range(rounds)]
        mine, theirs = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        goal = f", goal 1.5x: {judged('import, beside pydantic', ratio, 1.5)}" if what == "bare" else ""
        print(f"  {what:24} investigation_sdk {mine:6.1f}   pydantic {theirs:6.1f}   ours is {ratio:.2f}x{goal}")
