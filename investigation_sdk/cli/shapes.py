"""What ``--json`` prints: records as JSON, their times in UTC, payloads as they stand in the log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, cast

from pydantic import BaseModel

from investigation_sdk.cli.text import iso
from investigation_sdk.storage.codec import encode

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


def document(record: BaseModel) -> dict[str, Any]:
    """A record as an object of JSON, with all its fields. What is not JSON in a payload stays as the log tags it."""
    return {name: json.loads(encode(value).text) if name in PAYLOADS else _plain(value) for name, value in record}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return document(value)
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, list):
        return [_plain(member) for member in cast("Sequence[Any]", value)]
    return value
