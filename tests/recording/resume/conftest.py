"""An SDK that loses nothing, and no memory of what ran before."""

from collections.abc import Callable

import pytest

from investigation_sdk import InvestigationSDK
from tests.recording.resume.agents import ran


@pytest.fixture
def sdk(url: str, make_sdk: Callable[..., InvestigationSDK]) -> InvestigationSDK:
    """STRICT, so that every body that began is in the log."""
    return make_sdk(url, durability="strict")


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()
