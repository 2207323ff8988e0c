"""The tables: the one definition, which the migrations must agree with (a test runs Alembic's check).

Columns stand in the order of the row types' fields. The types below are what SQLite stores; a store that has
better ones (UUID, TIMESTAMPTZ, JSONB, NUMERIC) adds them here with ``with_variant``.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from .names import BLOBS, EVENTS, LEASES, TABLE_OF, TOMBSTONES

ID = Text()
TIME = BigInteger()  # µs since the epoch
JSON = Text()  # in projections: may become a JSON type of the store
LOG = Text()  # what is hashed: stays text on every store, byte for byte
MONEY = Text()  # decimal
HASH = LargeBinary()

metadata: Final[MetaData] = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

investigations: Final[Table] = Table(
    TABLE_OF["investigation"],
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("user_id", Text),
    Column("subject", Text, nullable=False),
    Column("investigation_type", Text, nullable=False),
    Column("key", Text),
    Column("generation", Integer, nullable=False),
    Column("parent_investigation_id", ID, ForeignKey("investigations.id", ondelete="SET NULL")),
    Column("metadata", JSON, nullable=False),
    Column("configuration", JSON, nullable=False),
    Column("created_at", TIME, nullable=False),
    Column("status", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("head", HASH, nullable=False),
    Column("token", ID),
    Column("owner", Text),
    Column("attempt", Integer, nullable=False),
    Column("current_phase", Text),
    Column("progress_percentage", Integer, nullable=False),
    Column("started_at", TIME),
    Column("completed_at", TIME),
    Column("failed_at", TIME),
    Column("updated_at", TIME, nullable=False),
    Column("retry_count", Integer, nullable=False),
    Column("error_message", Text),
    Column("failure_kind", Text),
    Column("result", JSON),
    Column("last_checkpoint", JSON),
    Column("resume_requested", Integer, nullable=False),
    Column("tokens_used", BigInteger, nullable=False),
    Column("api_calls_made", BigInteger, nullable=False),
    Column("cost_estimate", MONEY, nullable=False),
)
_c = investigations.c
Index(
    "uq_investigations_key",
    _c.tenant_id,
    _c.investigation_type,
    _c.key,
    _c.generation,
    unique=True,
    sqlite_where=_c.key.is_not(None),
    postgresql_where=_c.key.is_not(None),
)
Index("ix_investigations_status_id", _c.status, _c.id)
Index("ix_investigations_investigation_type_id", _c.investigation_type, _c.id)
for _name in ("user_id", "parent_investigation_id"):
    Index(
        f"ix_investigations_{_name}_id",
        _c[_name],
        _c.id,
        sqlite_where=_c[_name].is_not(None),
        postgresql_where=_c[_name].is_not(None),
    )

_INVESTIGATION = "investigations.id"

phases: Final[Table] = Table(
    TABLE_OF["phase"],
    metadata,
    Column("id", ID, primary_key=True),
    Column("investigation_id", ID, ForeignKey(_INVESTIGATION, ondelete="CASCADE"), nullable=False),
    Column("phase_name", Text, nullable=False),
    Column("phase_order", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("progress_percentage", Integer, nullable=False),
    Column("weight", Float, nullable=False),
    Column("tools", JSON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", TIME),
    Column("completed_at", TIME),
    Column("duration_ms", BigInteger),
    Column("input_data", JSON),
    Column("output_data", JSON),
    Column("error_details", JSON),
    Column("input_sequence", BigInteger),
    Column("output_sequence", BigInteger),
    Column("sequence", BigInteger, nullable=False),
    UniqueConstraint("investigation_id", "id"),
)

tools: Final[Table] = Table(
    TABLE_OF["tool"],
    metadata,
    Column("id", ID, primary_key=True),
    Column("investigation_id", ID, ForeignKey(_INVESTIGATION, ondelete="CASCADE"), nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("phase_id", ID),
    Column("agent_name", Text, nullable=False),
    Column("tool_name", Text, nullable=False),
    Column("tool_version", Text),
    Column("started_at", TIME, nullable=False),
    Column("effect", Text),
    Column("source", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("parent_call_id", ID),
    Column("input_parameters", JSON),
    Column("input_sequence", BigInteger, nullable=False),
    Column("completed_at", TIME),
    Column("duration_ms", BigInteger),
    Column("status", Text, nullable=False),
    Column("output_result", JSON),
    Column("output_sequence", BigInteger),
    Column("error_message", Text),
    Column("result_summary", Text),
    Column("tokens_used", BigInteger),
    Column("api_calls_made", BigInteger),
    Column("cost_estimate", MONEY),
    Column("sequence", BigInteger, nullable=False),
    # together with the investigation: a cascade then finds a phase's calls by the index below, and no index
    # of 50 bytes a call is needed on the phase alone
    ForeignKeyConstraint(
        ["investigation_id", "phase_id"],
        ["investigation_phases.investigation_id", "investigation_phases.id"],
        name="fk_tool_executions_phase",
    ),
    Index("ix_tool_executions_investigation_id_id", "investigation_id", "id"),
)
NOT_COMPLETED = "status <> 'completed'"
"""What the partial index on calls says of itself; a query must repeat it to use that index."""

Index(
    "ix_tool_executions_status_id",
    tools.c.status,
    tools.c.id,
    sqlite_where=text(NOT_COMPLETED),
    postgresql_where=text(NOT_COMPLETED),
)

events: Final[Table] = Table(
    EVENTS,
    metadata,
    Column("investigation_id", ID, ForeignKey(_INVESTIGATION, ondelete="CASCADE"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("id", ID, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("event_timestamp", TIME, nullable=False),
    Column("actor", Text),
    Column("previous_state", Text),
    Column("new_state", Text),
    Column("metadata", Text),
    Column("header", LOG, nullable=False),
    Column("event_data", LOG, nullable=False),
    Column("hash", HASH, nullable=False),
    UniqueConstraint("investigation_id", "sequence"),
)

blobs: Final[Table] = Table(
    BLOBS,
    metadata,
    Column("investigation_id", ID, ForeignKey(_INVESTIGATION, ondelete="CASCADE"), primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)
"""A payload that does not stand in its event, cut into rows of ``CHUNK_BYTES``; `position` counts them from 0."""

snapshots: Final[Table] = Table(
    TABLE_OF["snapshot"],
    metadata,
    Column("id", ID, primary_key=True),
    Column("investigation_id", ID, ForeignKey(_INVESTIGATION, ondelete="CASCADE"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("snapshot_timestamp", TIME, nullable=False),
    Column("snapshot_type", Text, nullable=False),
    Column("state_data", JSON, nullable=False),
    Column("phase_states", JSON, nullable=False),
    Column("tool_states", JSON, nullable=False),
    Index("ix_investigation_snapshots_investigation_id_sequence", "investigation_id", "sequence"),
)

# no foreign key: a lease may name anything, and a heartbeat must not touch its investigation's row
leases: Final[Table] = Table(
    LEASES,
    metadata,
    Column("resource", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("expires_at", TIME, nullable=False),
)

tombstones: Final[Table] = Table(
    TOMBSTONES,
    metadata,
    Column("investigation_id", ID, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("deleted_at", TIME, nullable=False),
)

BY_KIND = {"investigation": investigations, "phase": phases, "tool": tools, "snapshot": snapshots}
"""Table by kind of row."""
