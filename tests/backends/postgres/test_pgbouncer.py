"""Through PgBouncer in transaction mode, where each transaction gets another connection of the server's."""

import asyncio
import shutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.testing.contract import BackendContract, Case, StoreUnderTest
from investigation_sdk.testing.servers import Postgres
from investigation_sdk.testing.servers.process import Server, nobody_if_root


class PgBouncer(Server):
    """The pooler in front of a server, with three connections to it."""

    name = "pgbouncer"

    def __init__(self, server: Postgres, binary: str) -> None:
        super().__init__()
        self._server = urllib.parse.urlsplit(server.url_of("postgres"))
        self._binary = binary

    def user(self) -> tuple[int, int]:
        return nobody_if_root()

    def prepare(self) -> None:
        (self.folder / "users").write_text('"postgres" ""\n')
        (self.folder / "ini").write_text(
            f"[databases]\n* = host={self._server.hostname} port={self._server.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {self.folder}/users\npool_mode = transaction\ndefault_pool_size = 3\n"
        )

    def command(self) -> list[str | Path]:
        return [self._binary, self.folder / "ini"]

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def url_of(self, url: str) -> str:
        """The same database, through the pooler."""
        return urllib.parse.urlsplit(url)._replace(netloc=f"postgres@127.0.0.1:{self.port}").geturl()


@pytest.fixture(scope="module")
def bouncer(postgres: Postgres) -> Iterator[PgBouncer]:
    binary = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if binary is None:
        pytest.skip("no pgbouncer is installed (Debian, Ubuntu: apt install pgbouncer)")
    with PgBouncer(postgres, binary) as bouncer:
        yield bouncer


@pytest.fixture
def pooled(bouncer: PgBouncer, postgres_store: str) -> str:
    return bouncer.url_of(postgres_store)


@pytest.mark.server
class TestThroughPgBouncer(BackendContract):
    @pytest.fixture(autouse=True)
    def _url(self, pooled: str) -> None:
        self._place = pooled

    def new_store(self, folder: Path) -> StoreUnderTest:
        return StoreUnderTest(lambda: PostgresBackend(self._place, pgbouncer=True), url=f"{self._place}?pgbouncer=true")


async def test_many_at_once_share_few_connections(pooled: str) -> None:
    backends = [PostgresBackend(pooled, pgbouncer=True) for _ in range(4)]
    for backend in backends:
        await backend.open()
    cases = [Case() for _ in range(12)]

    async def work(n: int, case: Case) -> None:
        backend = backends[n % 4]
        for _ in range(10):
            await case.apply(backend, case.commit("a", rows=[case.tool()]))
            assert await backend.get("investigation", case.id) == case.row

    await asyncio.gather(*(work(n, case) for n, case in enumerate(cases)))
    for backend in backends:
        await backend.close()


@tool
def lookup(name: str) -> str:
    return name.upper()


def test_an_upgrade_and_an_investigation(bouncer: PgBouncer, postgres: Postgres) -> None:
    name = postgres.create_database()
    url = f"{bouncer.url_of(postgres.url_of(name))}?pgbouncer=true&schema=audit"
    with InvestigationSDK(url, auto_migrate=True) as sdk:
        with sdk.investigation("x") as run:
            lookup("a")
        assert sdk.sync.verify(run.id).ok
    postgres.drop_database(name)
