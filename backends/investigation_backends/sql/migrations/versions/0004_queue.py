"""The queue: which investigations a worker may take up, from when on, and in which order."""

import sqlalchemy as sa
from alembic import op

from investigation_backends.sql.migrate import named

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")
CLAIMABLE = sa.text("claimable_at IS NOT NULL")


def upgrade() -> None:
    """Add its columns, fill them as the SDK would, and index them."""
    table = named("investigations")
    at_once = "to_timestamp(0)" if op.get_bind().dialect.name == "postgresql" else "0"
    op.add_column(table, sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
    op.add_column(table, sa.Column("claimable_at", TIME, nullable=True))
    op.execute(
        f'UPDATE "{table}" SET claimable_at = {at_once} WHERE token IS NULL AND (resume_requested = 1 '
        "OR status IN ('queued', 'retrying', 'initializing', 'running', 'completing'))"
    )
    op.create_index(
        named("ix_investigations_queue"),
        table,
        [sa.text("priority DESC"), "id"],
        sqlite_where=CLAIMABLE,
        postgresql_where=CLAIMABLE,
    )


def downgrade() -> None:
    """Drop them. The log has all of it, but a later upgrade does not read it there: then every priority is 0, and what
    was to wait for a time waits no longer, until the rows are made again (``investigate check --repair``)."""
    table = named("investigations")
    op.drop_index(named("ix_investigations_queue"), table_name=table)
    op.drop_column(table, "claimable_at")
    op.drop_column(table, "priority")
