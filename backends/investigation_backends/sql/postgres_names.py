"""Names and types of a PostgreSQL store's columns: known without SQLAlchemy, so that opening need not import it."""

from __future__ import annotations

import re
from typing import Final

from investigation_sdk.domain.rows import ROW_TYPES
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.storage.commit import StoredEvent

from .names import EVENTS, LEASES, TABLE_OF, TOMBSTONES, VERSION_TABLE

_UUID: Final = frozenset({"id", "investigation_id", "parent_investigation_id", "phase_id", "parent_call_id", "token"})
_JSON: Final = (
    frozenset({"metadata", "configuration", "result", "last_checkpoint", "tools"})
    | {"input_data", "output_data", "error_details", "input_parameters", "output_result"}
    | {"state_data", "phase_states", "tool_states"}
)
_INTEGER: Final = frozenset(
    {"generation", "attempt", "progress_percentage", "retry_count", "resume_requested", "phase_order", "schema_version"}
    | {"priority"}
)
_BIGINT: Final = frozenset(
    {"version", "sequence", "input_sequence", "output_sequence", "duration_ms", "tokens_used", "api_calls_made"}
)
_OTHERS: Final = {"head": "bytea", "hash": "bytea", "cost_estimate": "numeric", "weight": "float8"}
_TIMES: Final = ("_at", "_timestamp")


def _type_of(name: str) -> str:
    for types, said in ((_UUID, "uuid"), (_JSON, "json"), (_INTEGER, "int4"), (_BIGINT, "int8")):
        if name in types:
            return said
    return _OTHERS.get(name) or ("timestamptz" if name.endswith(_TIMES) else "text")


COLUMNS: Final = {kind: {name: _type_of(name) for name in row._fields} for kind, row in ROW_TYPES.items()}
"""Type by column, in order, by kind of row."""

EVENT_COLUMNS: Final = {name: _type_of(name) for name in StoredEvent._fields} | {"metadata": "text"}
"""Type by column of the log, in order. What is hashed is text."""


def read_as(name: str, type: str) -> str:
    """What to select, so that a column arrives as a row has it."""
    return f'"{name}"::text' if type in ("uuid", "numeric") else f'"{name}"'


class Names:
    """What the tables of one store are called in statements.

    Args:
        schema: Where they are; None: where the connection's search path finds or makes them.
        prefix: In front of each name.

    Raises:
        ConfigurationError: a name that PostgreSQL would not take, or would cut.
    """

    def __init__(self, schema: str | None = None, prefix: str = "") -> None:
        if schema is not None and (not schema or "\0" in schema or len(schema.encode()) > 63):
            raise ConfigurationError(f"schema={schema!r} is not the name of a schema")
        if not re.fullmatch(r"(?:[a-z_][a-z0-9_]{0,10})?", prefix):
            raise ConfigurationError(
                f"table_prefix={prefix!r} must be at most 11 of a-z, 0-9 and _, and not begin with a digit"
            )
        self.schema = schema
        self.prefix = prefix
        self.investigations: str = self.of(TABLE_OF["investigation"])
        self.events: str = self.of(EVENTS)
        self.leases: str = self.of(LEASES)
        self.tombstones: str = self.of(TOMBSTONES)
        self.version: str = self.of(VERSION_TABLE)

    def of(self, table: str) -> str:
        """One of our tables, or another relation beside them, quoted."""
        name = quoted(self.prefix + table)
        return name if self.schema is None else f"{quoted(self.schema)}.{name}"

    def kind(self, kind: str) -> str:
        """The table of a kind of rows."""
        return self.of(TABLE_OF[kind])


def quoted(name: str) -> str:
    """A name as an identifier."""
    return '"' + name.replace('"', '""') + '"'
