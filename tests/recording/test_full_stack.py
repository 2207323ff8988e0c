"""The user's own stack is full, or the memory, while a record is made ready: nothing of it is lost for that."""

from typing import Any

import pytest

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.engine import sealing
from investigation_sdk.engine.sealing import make_commit

pytestmark = pytest.mark.interpreted


@tool
def look(n: int) -> int:
    return n


@pytest.mark.parametrize("kind", [RecursionError, MemoryError])
def test_what_could_not_be_sealed_for_want_of_room_is_written_later(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    left = [kind("no room"), kind("no room")]

    def full(*args: Any) -> Any:
        if left:
            raise left.pop()
        return make_commit(*args)

    sdk = InvestigationSDK("memory://")
    with sdk.investigation("full") as investigation:
        look(0)
        monkeypatch.setattr(sealing, "make_commit", full)
        with pytest.raises(kind, match="no room"):
            look(1)
        left.clear()
        assert look(2) == 2
    assert sdk.sync.verify(investigation.id).ok
    assert not list(sdk.sync.iter_events(investigation.id, event_type="recorder.warning"))
    calls = sdk.sync.tools(investigation.id)
    assert [call.input_parameters["n"] for call in calls] == [0, 1, 2]
    sdk.sync.close()
