"""Payloads that are too large to stand in their events."""

import sqlalchemy as sa
from alembic import op

from investigation_backends.sql.migrate import named

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        named("investigation_blobs"),
        sa.Column("investigation_id", ID, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            [named("investigations") + ".id"],
            name=op.f("fk_investigation_blobs_investigation_id_investigations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("investigation_id", "digest", "position", name=named("pk_investigation_blobs")),
    )


def downgrade() -> None:
    """Drop it. What its events say of these payloads stays; the payloads are gone."""
    op.drop_table(named("investigation_blobs"))
