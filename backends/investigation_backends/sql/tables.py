"""The tables: the one definition, which the migrations must agree with (a test runs Alembic's check).

Columns stand in the order of the row types' fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.types import TypeEngine

from .names import BLOBS, EVENTS, LEASES, TABLE_OF, TOMBSTONES

Dialect = Literal["sqlite", "postgresql"]

NOT_COMPLETED: Final = "status <> 'completed'"
"""What the partial index on calls says of itself; a query must repeat it to use that index."""

CLAIMABLE: Final = "claimable_at IS NOT NULL"
"""The same of the queue: few investigations stand in it, and those that are driven do not."""


@dataclass(frozen=True)
class Types:
    """What a dialect stores."""

    id: TypeEngine[Any]
    time: TypeEngine[Any]
    json: TypeEngine[Any]
    """In projections. In the log JSON is text on every store, byte for byte as it was hashed."""
    money: TypeEngine[Any]
    """Decimals, exact."""
    text: TypeEngine[Any]
    """Compared by code point."""


TYPES: Final[Mapping[Dialect, Types]] = {
    "sqlite": Types(id=Text(), time=BigInteger(), json=Text(), money=Text(), text=Text()),
    "postgresql": Types(
        id=Uuid(as_uuid=False),
        time=DateTime(timezone=True),
        json=JSON(),
        money=Numeric(),
        text=Text(collation="C"),
    ),
}


@dataclass(frozen=True)
class Tables:
    """The tables of one store."""

    metadata: MetaData
    by_kind: Mapping[str, Table]
    """Table by kind of row."""
    events: Table


def build(dialect: Dialect, prefix: str = "") -> Tables:
    """The tables as a dialect stores them, and their indexes, with a prefix in front of each name."""
    types = TYPES[dialect]
    metadata = MetaData(naming_convention=_conventions(prefix))
    investigations = _investigations(metadata, types, prefix)
    owner = f"{investigations.name}.id"
    phases = _phases(metadata, types, prefix, owner)
    tools = _tools(metadata, types, prefix, owner)
    events = _events(metadata, types, prefix, owner, dialect)
    _blobs(metadata, types, prefix, owner)
    snapshots = _snapshots(metadata, types, prefix, owner)
    _leases(metadata, types, prefix)
    _tombstones(metadata, types, prefix)
    by_kind = {"investigation": investigations, "phase": phases, "tool": tools, "snapshot": snapshots}
    return Tables(metadata, by_kind, events)


def _conventions(prefix: str) -> Mapping[str, Any]:
    """Names of constraints and indexes. Those that share a schema's name space begin with the prefix."""

    def bare(_: Any, table: Table) -> str:
        return table.name.removeprefix(prefix)

    def referred(constraint: ForeignKeyConstraint, _: Table) -> str:
        return constraint.elements[0].target_fullname.partition(".")[0].removeprefix(prefix)

    return {
        "bare": bare,
        "referred": referred,
        "ix": f"{prefix}ix_%(bare)s_%(column_0_N_name)s",
        "uq": f"{prefix}uq_%(bare)s_%(column_0_N_name)s",
        "fk": "fk_%(bare)s_%(column_0_N_name)s_%(referred)s",
        "pk": f"{prefix}pk_%(bare)s",
    }


def _investigations(metadata: MetaData, types: Types, prefix: str) -> Table:
    name = prefix + TABLE_OF["investigation"]
    table = Table(
        name,
        metadata,
        Column("id", types.id, primary_key=True),
        Column("tenant_id", types.text, nullable=False),
        Column("user_id", types.text),
        Column("subject", types.text, nullable=False),
        Column("investigation_type", types.text, nullable=False),
        Column("key", types.text),
        Column("generation", Integer, nullable=False),
        Column("parent_investigation_id", types.id, ForeignKey(f"{name}.id", ondelete="SET NULL")),
        Column("metadata", types.json, nullable=False),
        Column("configuration", types.json, nullable=False),
        Column("created_at", types.time, nullable=False),
        Column("status", types.text, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("head", LargeBinary, nullable=False),
        Column("token", types.id),
        Column("owner", types.text),
        Column("attempt", Integer, nullable=False),
        Column("current_phase", types.text),
        Column("progress_percentage", Integer, nullable=False),
        Column("started_at", types.time),
        Column("completed_at", types.time),
        Column("failed_at", types.time),
        Column("updated_at", types.time, nullable=False),
        Column("retry_count", Integer, nullable=False),
        Column("error_message", types.text),
        Column("failure_kind", types.text),
        Column("result", types.json),
        Column("last_checkpoint", types.json),
        Column("resume_requested", Integer, nullable=False),
        Column("tokens_used", BigInteger, nullable=False),
        Column("api_calls_made", BigInteger, nullable=False),
        Column("cost_estimate", types.money, nullable=False),
        Column("activity", types.text, nullable=False, server_default="{}"),
        Column("priority", Integer, nullable=False, server_default="0"),
        Column("claimable_at", types.time),
    )
    c = table.c
    Index(
        f"{prefix}uq_investigations_key",
        c.tenant_id,
        c.investigation_type,
        c.key,
        c.generation,
        unique=True,
        sqlite_where=c.key.is_not(None),
        postgresql_where=c.key.is_not(None),
    )
    claimable = text(CLAIMABLE)
    Index(
        f"{prefix}ix_investigations_queue",
        c.priority.desc(),
        c.id,
        sqlite_where=claimable,
        postgresql_where=claimable,
    )
    Index(None, c.status, c.id)
    Index(None, c.investigation_type, c.id)
    for column in (c.user_id, c.parent_investigation_id):
        Index(None, column, c.id, sqlite_where=column.is_not(None), postgresql_where=column.is_not(None))
    return table


def _phases(metadata: MetaData, types: Types, prefix: str, owner: str) -> Table:
    return Table(
        prefix + TABLE_OF["phase"],
        metadata,
        Column("id", types.id, primary_key=True),
        Column("investigation_id", types.id, ForeignKey(owner, ondelete="CASCADE"), nullable=False),
        Column("phase_name", types.text, nullable=False),
        Column("phase_order", Integer, nullable=False),
        Column("status", types.text, nullable=False),
        Column("progress_percentage", Integer, nullable=False),
        Column("weight", Float, nullable=False),
        Column("tools", types.json, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("started_at", types.time),
        Column("completed_at", types.time),
        Column("duration_ms", BigInteger),
        Column("input_data", types.json),
        Column("output_data", types.json),
        Column("error_details", types.json),
        Column("input_sequence", BigInteger),
        Column("output_sequence", BigInteger),
        Column("sequence", BigInteger, nullable=False),
        Column("activity", types.text, nullable=False, server_default="{}"),
        UniqueConstraint("investigation_id", "id"),
    )


def _tools(metadata: MetaData, types: Types, prefix: str, owner: str) -> Table:
    phases = prefix + TABLE_OF["phase"]
    table = Table(
        prefix + TABLE_OF["tool"],
        metadata,
        Column("id", types.id, primary_key=True),
        Column("investigation_id", types.id, ForeignKey(owner, ondelete="CASCADE"), nullable=False),
        Column("tenant_id", types.text, nullable=False),
        Column("phase_id", types.id),
        Column("agent_name", types.text, nullable=False),
        Column("tool_name", types.text, nullable=False),
        Column("tool_version", types.text),
        Column("started_at", types.time, nullable=False),
        Column("effect", types.text),
        Column("source", types.text, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("parent_call_id", types.id),
        Column("input_parameters", types.json),
        Column("input_sequence", BigInteger, nullable=False),
        Column("completed_at", types.time),
        Column("duration_ms", BigInteger),
        Column("status", types.text, nullable=False),
        Column("output_result", types.json),
        Column("output_sequence", BigInteger),
        Column("error_message", types.text),
        Column("result_summary", types.text),
        Column("tokens_used", BigInteger),
        Column("api_calls_made", BigInteger),
        Column("cost_estimate", types.money),
        Column("sequence", BigInteger, nullable=False),
        # together with the investigation: a cascade then finds a phase's calls by the index below, and no index
        # of 50 bytes a call is needed on the phase alone
        ForeignKeyConstraint(
            ["investigation_id", "phase_id"],
            [f"{phases}.investigation_id", f"{phases}.id"],
            name="fk_tool_executions_phase",
        ),
    )
    c = table.c
    Index(None, c.investigation_id, c.id)
    not_completed = text(NOT_COMPLETED)
    Index(None, c.status, c.id, sqlite_where=not_completed, postgresql_where=not_completed)
    return table


def _events(metadata: MetaData, types: Types, prefix: str, owner: str, dialect: Dialect) -> Table:
    columns: list[Any] = [
        Column("investigation_id", types.id, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("id", types.id, nullable=False),
        Column("event_type", types.text, nullable=False),
        Column("event_timestamp", types.time, nullable=False),
        Column("actor", types.text),
        Column("previous_state", types.text),
        Column("new_state", types.text),
        Column("metadata", types.text),
        Column("header", types.text, nullable=False),
        Column("event_data", types.text, nullable=False),
        Column("hash", LargeBinary, nullable=False),
        PrimaryKeyConstraint("investigation_id", "sequence"),
    ]
    if dialect == "sqlite":
        columns.append(ForeignKeyConstraint(["investigation_id"], [owner], ondelete="CASCADE"))
    return Table(prefix + EVENTS, metadata, *columns, postgresql_partition_by="RANGE (investigation_id)")


def _blobs(metadata: MetaData, types: Types, prefix: str, owner: str) -> Table:
    """Payloads that do not stand in their events, cut into rows of ``CHUNK_BYTES``; `position` counts them from 0."""
    return Table(
        prefix + BLOBS,
        metadata,
        Column("investigation_id", types.id, ForeignKey(owner, ondelete="CASCADE"), primary_key=True),
        Column("digest", types.text, primary_key=True),
        Column("position", Integer, primary_key=True),
        Column("data", LargeBinary, nullable=False),
    )


def _snapshots(metadata: MetaData, types: Types, prefix: str, owner: str) -> Table:
    return Table(
        prefix + TABLE_OF["snapshot"],
        metadata,
        Column("id", types.id, primary_key=True),
        Column("investigation_id", types.id, ForeignKey(owner, ondelete="CASCADE"), nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("schema_version", Integer, nullable=False),
        Column("snapshot_timestamp", types.time, nullable=False),
        Column("snapshot_type", types.text, nullable=False),
        Column("state_data", types.json, nullable=False),
        Column("phase_states", types.json, nullable=False),
        Column("tool_states", types.json, nullable=False),
        Index(f"{prefix}ix_investigation_snapshots_investigation_id_sequence", "investigation_id", "sequence"),
    )


def _leases(metadata: MetaData, types: Types, prefix: str) -> Table:
    # no foreign key: a lease may name anything, and a heartbeat must not touch its investigation's row
    return Table(
        prefix + LEASES,
        metadata,
        Column("resource", types.text, primary_key=True),
        Column("owner", types.text, nullable=False),
        Column("expires_at", types.time, nullable=False),
    )


def _tombstones(metadata: MetaData, types: Types, prefix: str) -> Table:
    return Table(
        prefix + TOMBSTONES,
        metadata,
        Column("investigation_id", types.id, primary_key=True),
        Column("version", BigInteger, nullable=False),
        Column("deleted_at", types.time, nullable=False),
    )
