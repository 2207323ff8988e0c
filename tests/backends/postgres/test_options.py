"""URLs and options of a PostgreSQL store."""

import math
import subprocess
import sys
from typing import Any

import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_sdk import InvestigationSDK
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.storage.registry import create_backend
from investigation_sdk.testing.servers import Postgres
from tests.backends.postgres.rig import as_user


def test_the_driver_that_is_missing_is_named_with_its_extra() -> None:
    program = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from investigation_sdk import InvestigationSDK, ConfigurationError\n"
        "try: InvestigationSDK('postgresql://me:hunter2@h/d')\n"
        "except ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "postgresql needs 'asyncpg', which is not installed" in done.stdout
    assert "pip install 'investigation-sdk[postgres]'" in done.stdout
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:hun/ter2@h/d", "postgresql://me:hunter2@h:port/d", "postgresql://me:hunter2@[::1/d"],
)
def test_a_url_that_cannot_be_read(url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
        create_backend(url)
    assert "hun" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


async def test_an_option_that_the_driver_refuses(empty: str) -> None:
    backend = PostgresBackend(as_user(empty, "postgres", "hunter2") + "?sslmode=maybe")
    with pytest.raises(ConfigurationError, match="cannot use this URL or its options") as caught:
        await backend.open()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"pool_size": 0},
        {"max_overflow": -1},
        {"command_timeout": 0},
        {"connect_timeout": -1.0},
        {"pool_timeout": math.nan},
        {"command_timeout": math.inf},
    ],
)
def test_numbers_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        PostgresBackend("postgresql://h/d", **options)


def test_a_limit_of_less_than_a_millisecond_is_one() -> None:
    settings = PostgresBackend("postgresql://h/d", command_timeout=1e-5)._target.settings
    for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "tcp_user_timeout"):
        assert settings[limit] == "1", "0 would be no limit"
    assert PostgresBackend("postgresql://h/d", command_timeout=2.0)._target.settings["lock_timeout"] == "1600"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            "sslmode=verify-full&sslrootcert=/no/such.pem",
            "sslrootcert names a file that cannot be read, '/no/such.pem'",
        ),
        ("sslmode=require&sslcert=/no/such.pem", "sslcert names a file that cannot be read, '/no/such.pem'"),
    ],
)
async def test_a_certificate_that_is_not_there(empty: str, options: str, says: str) -> None:
    backend = PostgresBackend(f"{as_user(empty, 'postgres', 'hunter2')}?{options}")
    with pytest.raises(ConfigurationError) as caught:
        await backend.open()
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_opening_and_recording_load_no_sqlalchemy(postgres_store: str) -> None:
    program = (
        "import sys\n"
        "from investigation_sdk import InvestigationSDK\n"
        "sdk = InvestigationSDK(sys.argv[1])\n"
        "with sdk.investigation('x') as run: pass\n"
        "assert sdk.sync.verify(run.id).ok\n"
        "assert 'asyncpg' in sys.modules and 'sqlalchemy' not in sys.modules\n"
        "assert len(sdk.sync.list()) == 1\n"
        "assert 'sqlalchemy' in sys.modules\n"
        "sdk.sync.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, postgres_store], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_options_in_the_url(postgres: Postgres, postgres_store: str) -> None:
    url = f"{postgres_store}?application_name=fraud%20desk&pool_size=1&max_overflow=0&sslmode=disable"
    backend: Any = create_backend(url.replace("postgresql://", "postgres://"))
    await backend.open()
    sql = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE application_name LIKE 'fraud%'"
    assert postgres.sql(sql) == "fraud desk"
    await backend.close()


async def test_no_connection_is_left(postgres: Postgres, postgres_store: str) -> None:
    async with InvestigationSDK(postgres_store, backend_options={"application_name": "left behind"}) as sdk:
        async with sdk.investigation("x"):
            pass
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'left behind'"
        assert int(postgres.sql(sql)) >= 2
    assert postgres.sql(sql) == "0"
