"""The two faces, the names, and what importing them costs."""

import asyncio
import inspect
import subprocess
import sys
import threading
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import investigation_sdk
from investigation_sdk import (
    ConfigurationError,
    InvestigationSDK,
    InvestigationStateService,
    SyncInvestigationSDK,
    current_investigation,
    tool,
)
from investigation_sdk.sync import SyncInvestigationStateService

ROOT = Path(__file__).resolve().parents[2]


def methods(cls: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(cls)
        if not name.startswith("_") and (inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member))
    }


@pytest.mark.parametrize(
    ("face", "blocking"),
    [(InvestigationSDK, SyncInvestigationSDK), (InvestigationStateService, SyncInvestigationStateService)],
)
def test_the_blocking_face_has_the_same_methods(face: type, blocking: type) -> None:
    expected = methods(face)
    assert len(expected) > 5
    found = {name for name, member in vars(blocking).items() if inspect.isfunction(member) and name[0] != "_"}
    extra = {"as_principal"} if face is InvestigationSDK else set()  # what it gives has a blocking face of its own
    assert found == extra | {"close" if name == "aclose" else name for name in expected}
    for name, method in expected.items():
        twin = getattr(blocking, "close" if name == "aclose" else name)
        assert not inspect.iscoroutinefunction(twin)
        mine, its = inspect.signature(method), inspect.signature(twin)
        assert its.parameters == mine.parameters
        assert its.return_annotation == mine.return_annotation.replace("AsyncIterator", "Iterator")
        assert twin.__doc__ == method.__doc__
    stream = typing.get_type_hints(SyncInvestigationSDK.iter_events)["return"]
    assert typing.get_origin(stream) is Iterator
    assert typing.get_origin(typing.get_type_hints(InvestigationSDK.iter_events)["return"]) is AsyncIterator


@pytest.mark.skipif(find_spec("ruff") is None, reason="ruff, of the extra `dev`, formats what is generated")
def test_the_blocking_face_is_generated() -> None:
    command = [sys.executable, str(ROOT / ".ci" / "generate_sync.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_blocking_face_works(sdk: InvestigationSDK) -> None:
    sync = sdk.sync
    assert sync is sdk.sync
    made = sync.service.create_investigation("u", "s", "t")
    assert [i.id for i in sync.list()] == [made.id]
    assert sync.get(made.id) == made
    assert [e.event_type for e in sync.iter_events(made.id)] == ["investigation.created", "state.transition"]
    assert sync.verify(made.id).ok
    assert sync.flush() == 0
    sync.close()
    if not str(sdk._recorder.backend).startswith("<investigation_backends.memory"):
        assert sync.get(made.id) == made  # it opens again


def test_every_public_name() -> None:
    for name in investigation_sdk.__all__:
        assert getattr(investigation_sdk, name) is not None
    assert set(investigation_sdk.__all__) <= set(dir(investigation_sdk))
    with pytest.raises(AttributeError, match="no attribute 'Investigations'"):
        investigation_sdk.Investigations  # noqa: B018
    names: dict[str, Any] = {}
    exec("from investigation_sdk import *", names)  # noqa: S102
    assert set(investigation_sdk.__all__) <= set(names)


def loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


def test_importing_loads_no_driver_and_no_models() -> None:
    modules = loaded("import investigation_sdk")
    assert not modules & {"sqlalchemy", "alembic", "sqlite3", "pydantic", "asyncio", "investigation_backends"}
    modules = loaded("from investigation_sdk import tool, InvestigationSDK\nInvestigationSDK('memory://')")
    assert not modules & {"sqlalchemy", "alembic", "sqlite3"}
    assert "investigation_sdk.sync" not in modules


def test_decorating_needs_no_driver() -> None:
    modules = loaded("from investigation_sdk import tool, agent\n@tool\ndef f(): ...\nf()")
    assert not modules & {"sqlalchemy", "alembic", "sqlite3"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_pause": "wiat"}, "on_pause='wiat' is not one of 'wait', 'raise'"),
        ({"on_store_failure": "ignore"}, "on_store_failure='ignore' is not one of 'raise', 'continue'"),
        ({"durability": "fast"}, "durability='fast' is not one of 'sync', 'strict', 'batched'"),
        ({"lease_ttl": timedelta(milliseconds=1)}, "too short"),
        ({"max_inline_bytes": 10}, "at least 1024"),
        ({"spool_limit": 9}, "spool_limit=9 is too small; at least 10"),
        ({"spool_limit": "many"}, "spool_limit='many' is not a whole number"),
        ({"url_or_backend": "mysql://x"}, "mysql"),
    ],
)
def test_mistyped_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        InvestigationSDK(**{"url_or_backend": "memory://", **options})
    with pytest.raises(TypeError, match="durabilty"):
        InvestigationSDK("memory://", durabilty=1)  # type: ignore[call-arg]


def test_the_url_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INVESTIGATION_URL", f"sqlite:///{tmp_path}/env.db")
    with InvestigationSDK() as sdk, sdk.investigation("x"):
        pass
    assert (tmp_path / "env.db").exists()
    with InvestigationSDK("memory://") as sdk, sdk.investigation("x"):  # an explicit one wins
        pass
    monkeypatch.delenv("INVESTIGATION_URL")
    with InvestigationSDK() as sdk, sdk.investigation("x"):
        pass
    assert (tmp_path / "investigations.db").exists()


def test_making_an_sdk_connects_to_nothing(tmp_path: Path) -> None:
    threads = threading.active_count()
    InvestigationSDK(f"sqlite:///{tmp_path}/never.db")
    assert threading.active_count() == threads
    assert list(tmp_path.iterdir()) == []


def test_one_sdk_in_many_loops_and_threads(sdk: InvestigationSDK) -> None:
    @tool
    async def step(n: int) -> int:
        return n

    async def investigate(n: int) -> str:
        async with sdk.investigation(f"i{n}") as investigation:
            await asyncio.gather(*(step(k) for k in range(5)))
        return investigation.id

    ids: list[str] = [asyncio.run(investigate(0)), asyncio.run(investigate(1))]
    threads = [threading.Thread(target=lambda n=n: ids.append(asyncio.run(investigate(n)))) for n in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(set(ids)) == 4
    assert [len(sdk.sync.tools(id)) for id in ids] == [5] * 4
    assert current_investigation() is None


async def test_an_sdk_opens_again_after_it_was_closed(sqlite_url: str, make_sdk: Callable[..., Any]) -> None:
    sdk = make_sdk(sqlite_url)
    async with sdk, sdk.investigation("first"):
        pass
    async with sdk.investigation("second"):
        pass
    assert len(await sdk.list()) == 2
