"""Events of a newer version: left out where they may be, refused by name where they must not."""

import json
from typing import Any

import pytest

from investigation_sdk import SchemaMismatch
from investigation_sdk.domain.events import Event
from investigation_sdk.engine.reading import to_event
from investigation_sdk.ids import uuid7
from investigation_sdk.storage.chain import seal
from investigation_sdk.storage.commit import GENESIS, StoredEvent


def stored(event_type: str, metadata: dict[str, Any] | None = None, **header: Any) -> StoredEvent:
    event = Event(uuid7(), event_type, {}, 1)
    event.metadata, event.sequence = metadata, 7
    sealed = seal(uuid7(), "", event, '{"new":1}', GENESIS)
    return sealed._replace(header=json.dumps({**json.loads(sealed.header), **header}))


def test_an_unknown_type_is_read() -> None:
    assert to_event(stored("quantum.leap")).type == "quantum.leap"


@pytest.mark.parametrize(
    "event",
    [stored("quantum.leap", {"critical": True}), stored("tool.started", v=2), stored("tool.started", schema=2)],
    ids=["critical", "format", "schema"],
)
def test_what_cannot_be_left_out_is_refused_by_name(event: StoredEvent) -> None:
    with pytest.raises(SchemaMismatch, match=rf"Event 7 \({event.event_type}\).* upgrade investigation-sdk") as refused:
        to_event(event)
    assert refused.value.investigation_id == event.investigation_id


def test_a_known_type_may_be_called_critical() -> None:
    assert to_event(stored("note.recorded", {"critical": True})).metadata == {"critical": True}
