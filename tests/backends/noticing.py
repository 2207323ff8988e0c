"""Whether the contract suite notices a bug: for the tests that plant some."""

import asyncio
from pathlib import Path
from unittest import SkipTest

from investigation_sdk.testing.contract import BackendContract, opened


def passes(contract: BackendContract, name: str, folder: Path) -> bool:
    """Whether one test of the contract passes (or has nothing to test here). It fails by what it asserts: anything else
    that is raised is no notice of a bug."""
    try:
        asyncio.run(_one(contract, name, folder))
    except SkipTest:
        return True
    except AssertionError:
        return False
    except BaseExceptionGroup as errors:  # of several tasks
        if errors.subgroup(AssertionError) is None:
            raise
        return False
    return True


async def _one(contract: BackendContract, name: str, folder: Path) -> None:
    async with opened(contract.new_store(folder)) as store, asyncio.timeout(60):
        await getattr(contract, name)(store)
