"""Run by Alembic, always by way of :mod:`investigation_backends.sql.migrate`, which passes the connection."""

from alembic import context
from sqlalchemy import Connection

from investigation_backends.sql.names import ALL_TABLES, VERSION_TABLE
from investigation_backends.sql.tables import build

connection: Connection = context.config.attributes["connection"]
prefix: str = context.config.attributes["prefix"]
ours: set[str] = {prefix + table for table in ALL_TABLES}


def _include(name: str | None, kind: str, parents: object) -> bool:
    # the database may be an application's: its tables are none of ours
    return kind != "table" or name in ours


context.configure(
    connection=connection,
    target_metadata=build("postgresql" if connection.dialect.name == "postgresql" else "sqlite", prefix).metadata,
    version_table=prefix + VERSION_TABLE,
    include_name=_include,
    compare_type=True,
    compare_server_default=True,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
