"""Run by Alembic, always by way of :mod:`investigation_backends.sql.migrate`, which passes the connection."""

from alembic import context
from sqlalchemy import Connection

from investigation_backends.sql.names import ALL_TABLES, VERSION_TABLE
from investigation_backends.sql.tables import metadata


def _include(name: str | None, kind: str, parents: object) -> bool:
    # the database may be an application's: its tables are none of ours
    return kind != "table" or name in ALL_TABLES


connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    include_name=_include,
    compare_type=True,
    compare_server_default=True,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
