"""Hosts to run a test under."""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.hosts.rig import Run


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs an ``async def`` under a host, for 30 seconds at most."""

    def run_main(main: Callable[[], Any]) -> Any:
        async def bounded() -> Any:
            with anyio.fail_after(30):
                return await main()

        return anyio.run(bounded, backend=request.param)

    return run_main
