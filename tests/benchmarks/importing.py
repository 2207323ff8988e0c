"""What ``import investigation_sdk`` costs, beside ``import pydantic``: each in a fresh interpreter, taking turns."""

from __future__ import annotations

import statistics
import subprocess
import sys

_CODE = "import time; t = time.perf_counter(); import {0}; {1}print(time.perf_counter() - t)"
_USE = {"investigation_sdk": "investigation_sdk.InvestigationSDK; investigation_sdk.tool; ", "pydantic": "pydantic.BaseModel; "}


def once(module: str) -> float:
    """Seconds to import a module and touch its main names."""
    code = _CODE.format(module, _USE[module])
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def report(rounds: int) -> None:
    """Print both, and the ratio."""
    pairs = [(once("investigation_sdk"), once("pydantic")) for _ in range(rounds)]
    mine, theirs = zip(*pairs, strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"\nimport, ms, median of {rounds} interleaved fresh interpreters, main names touched")
    print(f"  investigation_sdk {1000 * statistics.median(mine):8.0f}")
    verdict = "met" if ratio <= 1.5 else "MISSED"
    print(f"  pydantic          {1000 * statistics.median(theirs):8.0f}   ours is {ratio:.2f}x, goal 1.5x: {verdict}")
