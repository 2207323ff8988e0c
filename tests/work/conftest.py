import pytest

from investigation_sdk.work import recovery


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses before a next try are short."""
    monkeypatch.setattr(recovery, "FIRST_PAUSE", 0.01)
