"""Investigations whose figures are known, for tests of metrics."""

import contextlib
from decimal import Decimal

from investigation_sdk import InvestigationSDK, current_tool, tool


@tool
def fragile(n: int) -> int:
    """Fails where n can be divided by 3."""
    current_tool().report(tokens_used=n, cost_estimate=Decimal("0.1"))
    if n % 3 == 0:
        raise ValueError(n)
    return n


async def work(sdk: InvestigationSDK, n: int) -> None:
    """One of "fraud" (n is odd) or "abuse": two phases, four calls of `fragile` with 0 to 3. It fails where n can be
    divided by 4."""
    with contextlib.suppress(RuntimeError):
        async with sdk.investigation(f"s{n}", investigation_type="fraud" if n % 2 else "abuse") as investigation:
            async with investigation.phase("look"):
                for i in range(4):
                    with contextlib.suppress(ValueError):
                        fragile(i)
            async with investigation.phase("verdict"):
                if n % 4 == 0:
                    raise RuntimeError(n)
