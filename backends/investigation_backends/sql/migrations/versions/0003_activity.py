"""What rows keep of the work that is going on, so that progress is read without counting calls."""

import sqlalchemy as sa
from alembic import op

from investigation_backends.sql.migrate import named

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ("investigations", "investigation_phases")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns. Rows that are there say nothing of it, until an event changes them or they are made again."""
    for table in TABLES:
        op.add_column(named(table), sa.Column("activity", TEXT, nullable=False, server_default="{}"))


def downgrade() -> None:
    """Drop them; what they say follows from the log."""
    for table in TABLES:
        with op.batch_alter_table(named(table)) as batch:
            batch.drop_column("activity")
