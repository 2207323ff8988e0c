"""SQLite: what is imported on opening, and forks."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from investigation_backends.sql import sqlite_link


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_opening_an_existing_file_imports_no_library(tmp_path: Path) -> None:
    script = """
        import asyncio, sys
        from investigation_sdk.storage.registry import create_backend
        async def main():
            backend = create_backend(f"sqlite:///{sys.argv[1]}")
            await backend.open()
            await backend.get("tool", "x"); await backend.read_events("x"); await backend.claim("x", "me", ttl=1)
            await backend.close()
        asyncio.run(main())
        print(sorted(name for name in ("sqlalchemy", "alembic", "logging.config") if name in sys.modules))
    """
    assert json.loads(run(script, str(tmp_path / "x.db")).replace("'", '"'))[:2] == ["alembic", "sqlalchemy"]
    assert run(script, str(tmp_path / "x.db")).strip() == "[]"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_and_its_parent_go_on(tmp_path: Path) -> None:
    script = """
        import asyncio, os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from investigation_backends.sqlite import SQLiteBackend
        from investigation_sdk.storage.commit import Query
        from investigation_sdk.testing._contract.building import Case
        backend = SQLiteBackend(sys.argv[1])
        case, theirs = Case(), Case()
        async def before():
            await backend.open()
            await case.apply(backend)
            await theirs.apply(backend)
            assert len(await backend.find(Query("investigation"))) == 2
        async def after(case):
            for _ in range(20):
                await case.apply(backend)
            assert len(await backend.find(Query("investigation"))) == 2
            assert len(await backend.read_events(case.id)) == 21
        asyncio.run(before())
        assert backend._link._connection is not None
        child = os.fork()
        assert backend._link._connection is None
        if child == 0:
            try:
                asyncio.run(after(theirs))
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        asyncio.run(after(case))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        async def end():
            assert len(await backend.read_events(theirs.id)) == 21
            await backend.close()
        asyncio.run(end())
        print("ok")
    """
    assert run(script, str(tmp_path / "x.db")) == "ok\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_in_the_middle_of_a_write_is_refused_in_the_child(tmp_path: Path) -> None:
    script = """
        import asyncio, os, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from investigation_backends.sql import sqlite_link
        from investigation_backends.sqlite import SQLiteBackend
        from investigation_sdk.errors import BackendUnavailable
        sqlite_link.FORK_PATIENCE = 0.05
        backend = SQLiteBackend(sys.argv[1])
        asyncio.run(backend.open())
        inside, leave = threading.Event(), threading.Event()
        def write(connection):
            inside.set()
            leave.wait()
        thread = threading.Thread(target=lambda: asyncio.run(backend._link.transaction(write)))
        thread.start()
        inside.wait()
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(backend.get("tool", "x"))
            except BackendUnavailable as error:
                os._exit(0 if "forked" in str(error) else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        leave.set()
        thread.join()
        assert asyncio.run(backend.get("tool", "x")) is None
        asyncio.run(backend.close())
        print("ok")
    """
    assert run(script, str(tmp_path / "x.db")) == "ok\n"


def test_a_thread_at_its_fork_does_not_let_go_of_what_another_holds_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = sqlite_link.Link(str(tmp_path / "x.db"), "FULL", 1.0)
    monkeypatch.setattr(sqlite_link, "_links", {link})
    monkeypatch.setattr(sqlite_link, "FORK_PATIENCE", 0.01)

    def another_fork() -> None:
        sqlite_link._before_fork()  # which does not get the locks
        sqlite_link._after_fork(child=False)

    sqlite_link._before_fork()
    try:
        thread = threading.Thread(target=another_fork)
        thread.start()
        thread.join()
        assert link._lock.locked()
        assert link.reading.locked()
    finally:
        sqlite_link._after_fork(child=False)
    assert not link._lock.locked()
    assert not link.reading.locked()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_threads_that_fork_at_once(tmp_path: Path) -> None:
    script = """
        import asyncio, os, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from investigation_backends.sqlite import SQLiteBackend
        from investigation_sdk.testing._contract.building import Case
        backend = SQLiteBackend(sys.argv[1])
        cases = [[Case() for _ in range(5)] for _ in range(4)]
        mine = Case()
        codes = []
        async def before():
            await backend.open()
            await mine.apply(backend)
        def fork(cases):
            for case in cases:
                child = os.fork()
                if child == 0:
                    try:
                        asyncio.run(case.apply(backend))
                    except BaseException:
                        import traceback
                        traceback.print_exc()
                        os._exit(1)
                    os._exit(0)
                codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        asyncio.run(before())
        threads = [threading.Thread(target=fork, args=(some,)) for some in cases]
        for thread in threads:
            thread.start()
        async def meanwhile():
            while any(thread.is_alive() for thread in threads):
                await mine.apply(backend)
                assert await backend.get("investigation", mine.id) is not None
        asyncio.run(meanwhile())
        assert codes == [0] * 20, codes
        async def end():
            for case in sum(cases, []):
                assert len(await backend.read_events(case.id)) == 1
            await backend.close()
        asyncio.run(end())
        print("ok")
    """
    assert run(script, str(tmp_path / "x.db")) == "ok\n"


def test_reading_and_writing_while_the_process_ends(tmp_path: Path) -> None:
    script = """
        import asyncio, atexit, sys
        from investigation_backends.sqlite import SQLiteBackend
        from investigation_sdk.storage.commit import Query
        from investigation_sdk.testing._contract.building import Case
        backend = SQLiteBackend(sys.argv[1])
        case = Case()
        loop = asyncio.new_event_loop()
        loop.run_until_complete(backend.open())
        async def last():
            await case.apply(backend)
            assert len(await backend.read_events(case.id)) == 1
            assert len(await backend.find(Query("investigation"))) == 1
            await backend.close()
            print("ok")
        atexit.register(lambda: loop.run_until_complete(last()))
    """
    assert run(script, str(tmp_path / "x.db")) == "ok\n"
