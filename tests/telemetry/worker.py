"""A worker in a process of its own, for tests: works until one investigation is done, then prints its spans as JSON.

Usage: python worker.py URL ID [DIES], where the first attempt ends the process if DIES is given.
"""

import asyncio
import os
import sys

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from investigation_sdk import AsyncInvestigationRun, InvestigationSDK
from investigation_sdk.telemetry import Telemetry
from investigation_sdk.work import recovery

URL, ID, *DIES = sys.argv[1:]
recovery.FIRST_PAUSE = 0.01  # type: ignore[misc]


async def main() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with InvestigationSDK(URL, telemetry=Telemetry(provider)) as sdk:

        @sdk.investigator("fraud")
        async def fraud(run: AsyncInvestigationRun) -> None:
            if DIES:
                await sdk.flush()
                os._exit(7)

        async with sdk.worker():
            await sdk.wait(ID, timeout=50)
    sys.stdout.writelines(f"{span.to_json(indent=None)}\n" for span in exporter.get_finished_spans())


asyncio.run(main())
