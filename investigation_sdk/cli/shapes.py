"""What ``--json`` prints: records as JSON, their times in UTC, payloads as they stand in the log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import BaseModel

from investigation_sdk.cli.out import note
from investigation_sdk.cli.text import iso
from investigation_sdk.engine.reading import has_large
from investigation_sdk.errors import InvestigationError
from investigation_sdk.storage.codec import LargePayload, encode

if TYPE_CHECKING:
    from investigation_sdk import InvestigationSDK

PAYLOADS: Final = frozenset(
    {
        "configuration",
        "error_details",
        "event_data",
        "input_data",
        "input_parameters",
        "metadata",
        "output_data",
        "output_result",
        "result",
    }
)
"""Fields whose values are an application's: anything that the codec writes. A test compares them with the models."""


def document(record: BaseModel, sdk: InvestigationSDK) -> dict[str, Any]:
    """A record as an object of JSON, with all its fields, and payloads in full.

    What is not JSON in a payload stays as the log tags it; also a payload that is kept beside the log and cannot be
    read: a log that was tampered with is shown as it is.
    """
    id = str(getattr(record, "investigation_id", None) or getattr(record, "id", None))
    return {name: _payload(value, id, sdk) if name in PAYLOADS else _plain(value, sdk) for name, value in record}


def _payload(value: Any, investigation_id: str, sdk: InvestigationSDK) -> Any:
    if has_large(value):
        try:
            value = sdk.sync.payload(investigation_id, value)
        except InvestigationError as error:
            note(str(error))
            return _references(value)
    return json.loads(encode(value).text)


def _references(value: Any) -> Any:
    if isinstance(value, LargePayload):
        return {"$type": "blob", "digest": value.digest, "bytes": value.bytes}
    if has_large(value):
        return {name: _references(member) for name, member in value.items()}
    return json.loads(encode(value).text)


def _plain(value: Any, sdk: InvestigationSDK) -> Any:
    if isinstance(value, BaseModel):
        return document(value, sdk)
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, list):
        return [_plain(member, sdk) for member in cast("Sequence[Any]", value)]
    return value
