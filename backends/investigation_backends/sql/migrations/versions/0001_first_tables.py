"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "investigation_leases",
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("resource", name=op.f("pk_investigation_leases")),
    )
    op.create_table(
        "investigation_tombstones",
        sa.Column("investigation_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("investigation_id", name=op.f("pk_investigation_tombstones")),
    )
    op.create_table(
        "investigations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("investigation_type", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("parent_investigation_id", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("configuration", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("current_phase", sa.Text(), nullable=True),
        sa.Column("progress_percentage", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("failed_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("failure_kind", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("last_checkpoint", sa.Text(), nullable=True),
        sa.Column("resume_requested", sa.Integer(), nullable=False),
        sa.Column("tokens_used", sa.BigInteger(), nullable=False),
        sa.Column("api_calls_made", sa.BigInteger(), nullable=False),
        sa.Column("cost_estimate", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_investigation_id"],
            ["investigations.id"],
            name=op.f("fk_investigations_parent_investigation_id_investigations"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_investigations")),
    )
    op.create_index("ix_investigations_investigation_type_id", "investigations", ["investigation_type", "id"])
    op.create_index(
        "ix_investigations_parent_investigation_id_id",
        "investigations",
        ["parent_investigation_id", "id"],
        sqlite_where=sa.text("parent_investigation_id IS NOT NULL"),
        postgresql_where=sa.text("parent_investigation_id IS NOT NULL"),
    )
    op.create_index("ix_investigations_status_id", "investigations", ["status", "id"])
    op.create_index(
        "ix_investigations_user_id_id",
        "investigations",
        ["user_id", "id"],
        sqlite_where=sa.text("user_id IS NOT NULL"),
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.create_index(
        "uq_investigations_key",
        "investigations",
        ["tenant_id", "investigation_type", "key", "generation"],
        unique=True,
        sqlite_where=sa.text('"key" IS NOT NULL'),
        postgresql_where=sa.text('"key" IS NOT NULL'),
    )

    op.create_table(
        "investigation_events",
        sa.Column("investigation_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("event_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("previous_state", sa.Text(), nullable=True),
        sa.Column("new_state", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("header", sa.Text(), nullable=False),
        sa.Column("event_data", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.UniqueConstraint(
            "investigation_id", "sequence", name=op.f("uq_investigation_events_investigation_id_sequence")
        ),
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            ["investigations.id"],
            name=op.f("fk_investigation_events_investigation_id_investigations"),
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "investigation_phases",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("investigation_id", sa.Text(), nullable=False),
        sa.Column("phase_name", sa.Text(), nullable=False),
        sa.Column("phase_order", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("progress_percentage", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("tools", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("input_data", sa.Text(), nullable=True),
        sa.Column("output_data", sa.Text(), nullable=True),
        sa.Column("error_details", sa.Text(), nullable=True),
        sa.Column("input_sequence", sa.BigInteger(), nullable=True),
        sa.Column("output_sequence", sa.BigInteger(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("investigation_id", "id", name=op.f("uq_investigation_phases_investigation_id_id")),
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            ["investigations.id"],
            name=op.f("fk_investigation_phases_investigation_id_investigations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_investigation_phases")),
    )
    op.create_table(
        "investigation_snapshots",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("investigation_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("snapshot_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("snapshot_type", sa.Text(), nullable=False),
        sa.Column("state_data", sa.Text(), nullable=False),
        sa.Column("phase_states", sa.Text(), nullable=False),
        sa.Column("tool_states", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            ["investigations.id"],
            name=op.f("fk_investigation_snapshots_investigation_id_investigations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_investigation_snapshots")),
    )
    op.create_index(
        "ix_investigation_snapshots_investigation_id_sequence",
        "investigation_snapshots",
        ["investigation_id", "sequence"],
    )

    op.create_table(
        "tool_executions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("investigation_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("phase_id", sa.Text(), nullable=True),
        sa.Column("agent_name", sa.Text(), nullable=False),
        sa.Column("tool_name", sa.Text(), nullable=False),
        sa.Column("tool_version", sa.Text(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("effect", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("parent_call_id", sa.Text(), nullable=True),
        sa.Column("input_parameters", sa.Text(), nullable=True),
        sa.Column("input_sequence", sa.BigInteger(), nullable=False),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("output_result", sa.Text(), nullable=True),
        sa.Column("output_sequence", sa.BigInteger(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("result_summary", sa.Text(), nullable=True),
        sa.Column("tokens_used", sa.BigInteger(), nullable=True),
        sa.Column("api_calls_made", sa.BigInteger(), nullable=True),
        sa.Column("cost_estimate", sa.Text(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["investigation_id", "phase_id"],
            ["investigation_phases.investigation_id", "investigation_phases.id"],
            name="fk_tool_executions_phase",
        ),
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            ["investigations.id"],
            name=op.f("fk_tool_executions_investigation_id_investigations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_executions")),
    )
    op.create_index("ix_tool_executions_investigation_id_id", "tool_executions", ["investigation_id", "id"])
    op.create_index(
        "ix_tool_executions_status_id",
        "tool_executions",
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
        op.drop_table(table)
