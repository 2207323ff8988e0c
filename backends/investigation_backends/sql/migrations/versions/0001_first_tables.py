"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from investigation_backends.sql.migrate import named

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

POSTGRESQL = "postgresql"
ID = sa.Text().with_variant(sa.Uuid(as_uuid=False), POSTGRESQL)
TIME = sa.BigInteger().with_variant(sa.DateTime(timezone=True), POSTGRESQL)
JSON = sa.Text().with_variant(postgresql.JSON(), POSTGRESQL)
MONEY = sa.Text().with_variant(sa.Numeric(), POSTGRESQL)
TEXT = sa.Text().with_variant(sa.Text(collation="C"), POSTGRESQL)


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        named("investigation_leases"),
        sa.Column("resource", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("resource", name=named("pk_investigation_leases")),
    )
    op.create_table(
        named("investigation_tombstones"),
        sa.Column("investigation_id", ID, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("investigation_id", name=named("pk_investigation_tombstones")),
    )
    op.create_table(
        named("investigations"),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("user_id", TEXT, nullable=True),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("investigation_type", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("parent_investigation_id", ID, nullable=True),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("configuration", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("token", ID, nullable=True),
        sa.Column("owner", TEXT, nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("current_phase", TEXT, nullable=True),
        sa.Column("progress_percentage", sa.Integer(), nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("completed_at", TIME, nullable=True),
        sa.Column("failed_at", TIME, nullable=True),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("error_message", TEXT, nullable=True),
        sa.Column("failure_kind", TEXT, nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("last_checkpoint", JSON, nullable=True),
        sa.Column("resume_requested", sa.Integer(), nullable=False),
        sa.Column("tokens_used", sa.BigInteger(), nullable=False),
        sa.Column("api_calls_made", sa.BigInteger(), nullable=False),
        sa.Column("cost_estimate", MONEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_investigation_id"],
            [named("investigations") + ".id"],
            name=op.f("fk_investigations_parent_investigation_id_investigations"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=named("pk_investigations")),
    )
    if op.get_bind().dialect.name == POSTGRESQL:
        # Room for the next version of a row on its page: an update then touches no index. SQLAlchemy 2.0 has no option.
        op.execute(f'ALTER TABLE "{named("investigations")}" SET (fillfactor = 70)')
    op.create_index(
        named("ix_investigations_investigation_type_id"), named("investigations"), ["investigation_type", "id"]
    )
    op.create_index(
        named("ix_investigations_parent_investigation_id_id"),
        named("investigations"),
        ["parent_investigation_id", "id"],
        sqlite_where=sa.text("parent_investigation_id IS NOT NULL"),
        postgresql_where=sa.text("parent_investigation_id IS NOT NULL"),
    )
    op.create_index(named("ix_investigations_status_id"), named("investigations"), ["status", "id"])
    op.create_index(
        named("ix_investigations_user_id_id"),
        named("investigations"),
        ["user_id", "id"],
        sqlite_where=sa.text("user_id IS NOT NULL"),
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.create_index(
        named("uq_investigations_key"),
        named("investigations"),
        ["tenant_id", "investigation_type", "key", "generation"],
        unique=True,
        sqlite_where=sa.text('"key" IS NOT NULL'),
        postgresql_where=sa.text('"key" IS NOT NULL'),
    )

    events_belong_to_investigations = [
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            [named("investigations") + ".id"],
            name=op.f("fk_investigation_events_investigation_id_investigations"),
            ondelete="CASCADE",
        )
    ]
    if op.get_bind().dialect.name == POSTGRESQL:
        # Each partition would have to lock the investigations to be made, and each event costs a look at its
        # investigation, whose row the commit holds anyway.
        events_belong_to_investigations = []
    op.create_table(
        named("investigation_events"),
        sa.Column("investigation_id", ID, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("event_type", TEXT, nullable=False),
        sa.Column("event_timestamp", TIME, nullable=False),
        sa.Column("actor", TEXT, nullable=True),
        sa.Column("previous_state", TEXT, nullable=True),
        sa.Column("new_state", TEXT, nullable=True),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("header", TEXT, nullable=False),
        sa.Column("event_data", TEXT, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("investigation_id", "sequence", name=named("pk_investigation_events")),
        *events_belong_to_investigations,
        postgresql_partition_by="RANGE (investigation_id)",
    )
    op.create_table(
        named("investigation_phases"),
        sa.Column("id", ID, nullable=False),
        sa.Column("investigation_id", ID, nullable=False),
        sa.Column("phase_name", TEXT, nullable=False),
        sa.Column("phase_order", sa.Integer(), nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("progress_percentage", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("tools", JSON, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("completed_at", TIME, nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("input_data", JSON, nullable=True),
        sa.Column("output_data", JSON, nullable=True),
        sa.Column("error_details", JSON, nullable=True),
        sa.Column("input_sequence", sa.BigInteger(), nullable=True),
        sa.Column("output_sequence", sa.BigInteger(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("investigation_id", "id", name=named("uq_investigation_phases_investigation_id_id")),
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            [named("investigations") + ".id"],
            name=op.f("fk_investigation_phases_investigation_id_investigations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=named("pk_investigation_phases")),
    )
    op.create_table(
        named("investigation_snapshots"),
        sa.Column("id", ID, nullable=False),
        sa.Column("investigation_id", ID, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("snapshot_timestamp", TIME, nullable=False),
        sa.Column("snapshot_type", TEXT, nullable=False),
        sa.Column("state_data", JSON, nullable=False),
        sa.Column("phase_states", JSON, nullable=False),
        sa.Column("tool_states", JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            [named("investigations") + ".id"],
            name=op.f("fk_investigation_snapshots_investigation_id_investigations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=named("pk_investigation_snapshots")),
    )
    op.create_index(
        named("ix_investigation_snapshots_investigation_id_sequence"),
        named("investigation_snapshots"),
        ["investigation_id", "sequence"],
    )

    op.create_table(
        named("tool_executions"),
        sa.Column("id", ID, nullable=False),
        sa.Column("investigation_id", ID, nullable=False),
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("phase_id", ID, nullable=True),
        sa.Column("agent_name", TEXT, nullable=False),
        sa.Column("tool_name", TEXT, nullable=False),
        sa.Column("tool_version", TEXT, nullable=True),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("effect", TEXT, nullable=True),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("parent_call_id", ID, nullable=True),
        sa.Column("input_parameters", JSON, nullable=True),
        sa.Column("input_sequence", sa.BigInteger(), nullable=False),
        sa.Column("completed_at", TIME, nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("output_result", JSON, nullable=True),
        sa.Column("output_sequence", sa.BigInteger(), nullable=True),
        sa.Column("error_message", TEXT, nullable=True),
        sa.Column("result_summary", TEXT, nullable=True),
        sa.Column("tokens_used", sa.BigInteger(), nullable=True),
        sa.Column("api_calls_made", sa.BigInteger(), nullable=True),
        sa.Column("cost_estimate", MONEY, nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["investigation_id", "phase_id"],
            [named("investigation_phases") + ".investigation_id", named("investigation_phases") + ".id"],
            name="fk_tool_executions_phase",
        ),
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            [named("investigations") + ".id"],
            name=op.f("fk_tool_executions_investigation_id_investigations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=named("pk_tool_executions")),
    )
    op.create_index(
        named("ix_tool_executions_investigation_id_id"), named("tool_executions"), ["investigation_id", "id"]
    )
    op.create_index(
        named("ix_tool_executions_status_id"),
        named("tool_executions"),
        ["status", "id"],
        sqlite_where=sa.text("status <> 'completed'"),
        postgresql_where=sa.text("status <> 'completed'"),
    )


def downgrade() -> None:
    """Drop them, with all that is in them."""
    for table in (
        "tool_executions",
        "investigation_snapshots",
        "investigation_phases",
        "investigation_events",
        "investigations",
        "investigation_tombstones",
        "investigation_leases",
    ):
        op.drop_table(named(table))
