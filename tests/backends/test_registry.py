import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_backends.mongo import MongoBackend
from investigation_backends.postgres import PostgresBackend
from investigation_backends.sqlite import SQLiteBackend
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.storage import registry
from investigation_sdk.storage.backend import Backend, InlineBackend
from investigation_sdk.storage.registry import Entry, create_backend, redact


def refused(url: str, options: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        create_backend(url, options)
    return str(caught.value)


class Recorded:
    """A backend of somebody else: tells what it was made with."""

    made: Any = None

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        name: str = "",
        size: int = 1,
        wait: float = 1.0,
        loud: bool = False,
        mode: Literal["Fast", "SAFE"] = "SAFE",
    ) -> "Recorded":
        cls.made = (url, name, size, wait, loud, mode)
        return cls()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> type[Recorded]:
    module = ModuleType("recorded_backend")
    module.Recorded = Recorded  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "recorded_backend", module)
    monkeypatch.setitem(registry.BACKENDS, "recorded", Entry("recorded_backend:Recorded", extra="recorded"))
    return Recorded


def test_memory() -> None:
    inline = create_backend("memory://")
    assert isinstance(inline, MemoryBackend)
    assert isinstance(inline, InlineBackend)
    for by_writer in (create_backend("memory://?writer=true"), create_backend("memory://", {"writer": True})):
        assert isinstance(by_writer, Backend)
        assert not isinstance(by_writer, InlineBackend)


def test_a_memory_url_makes_a_store_of_its_own() -> None:
    one, two = create_backend("memory://"), create_backend("memory://")
    assert isinstance(one, MemoryBackend)
    assert isinstance(two, MemoryBackend)
    assert one.store is not two.store
    assert "neither host nor path" in refused("memory://shared")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////var/lib/cases.db", "/var/lib/cases.db"),
        ("sqlite:////srv/a%20b%23c.db?synchronous=normal", "/srv/a b#c.db"),
        ("sqlite:////srv/c#d.db", "/srv/c#d.db"),
    ],
)
def test_sqlite(url: str, path: str) -> None:
    backend = create_backend(url)
    assert isinstance(backend, SQLiteBackend)
    assert not isinstance(backend, InlineBackend)
    assert backend.path == path
    again = create_backend(backend.url)
    assert isinstance(again, SQLiteBackend)
    assert again.path == path


def test_a_relative_path_stays_where_it_was_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backend = create_backend("sqlite:///cases.db")
    monkeypatch.chdir("/")
    assert isinstance(backend, SQLiteBackend)
    assert backend.path == str(tmp_path / "cases.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:x?mode=memory"])
def test_sqlite_in_memory_is_refused(url: str) -> None:
    message = refused(url.partition("?")[0])
    assert "memory://" in message


def test_two_slashes() -> None:
    assert "sqlite:///cases.db" in refused("sqlite://cases.db")


def test_an_unknown_scheme_lists_the_known_and_the_nearest() -> None:
    for wrong in ("sqllite", "SQLite", "sqlite3", "sqlite+aiosqlite"):
        message = refused(f"{wrong}:///x.db")
        assert "did you mean 'sqlite'" in message
        assert "memory, sqlite" in message
    assert "did you mean" not in refused("cassandra://h/d")
    assert "did you mean 'postgresql'" in refused("postgresql+asyncpg://h/d")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("fraud.db", "sqlite:///fraud.db"),
        ("data/fraud.db", "sqlite:///data/fraud.db"),
        ("/var/fraud.db", "sqlite:////var/fraud.db"),
        ("C:\\data\\fraud.db", "sqlite:///C:/data/fraud.db"),
        ("", "sqlite:///cases.db"),
        ("memory", "write memory://"),
        ("memory:", "write memory://"),
        ("sqlite", "write sqlite:///cases.db"),
    ],
)
def test_what_is_not_a_url_is_taught(url: str, says: str) -> None:
    assert says in refused(url)


def test_passwords_are_never_said() -> None:
    for url in (
        "postgresql://me:hunter2@db:x/cases",
        "postgresql://me:hunter2/@db/cases",
        "postgresql://me:hunter2@db/cases?pasword=hunter2",
        "mysql://me:hunter2@db/cases?password=hunter2",
        "me:hunter2@db",
        "memory://me:hunter2@db",
        "memory://?password=hunter2",
        "sqlite://me:hunter2@db/cases",
    ):
        assert "hunter2" not in refused(url)
    assert redact("postgresql://me:hunter2@db/cases?sslpassword=hunter2&a=b") == (
        "postgresql://me:***@db/cases?sslpassword=***&a=***"
    )
    assert redact("postgresql://me:p@ss:w/rd@db/cases") == "postgresql://me:***@db/cases"
    assert redact("sqlite:///cases.db") == "sqlite:///cases.db"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "mongodb", "mongodb+srv"])
@pytest.mark.parametrize(
    "place",
    [
        "://bob:98/secret@h/db",
        "://bob:98?secret@h/db",
        "://bob:98#secret@h/db",
        ":bob:98secret@h/db",
        "://bob:98/x?secret=1@h/db",
        "://b@h:98/secret@h/db",
        "://bob:98@h/db#secret",
    ],
)
def test_a_password_that_is_not_encoded_is_never_said(scheme: str, place: str) -> None:
    """After digits alone the rest of it is read as a database, an option or a fragment."""
    url = scheme + place
    make = MongoBackend if scheme.startswith("mongo") else PostgresBackend
    for make_it in (create_backend, make):
        with pytest.raises(ConfigurationError) as caught:
            make_it(url)
        assert "secret" not in str(caught.value)
        assert make_it is create_backend or "percent-encoded" in str(caught.value)
        assert caught.value.__cause__ is None
    assert "98" not in redact(url)


@pytest.mark.usefixtures("recorded")
def test_names_of_options_that_may_be_something_else_are_not_said() -> None:
    for query in ("se/cret=1", "se/cret&se/cret"):
        message = refused(f"recorded://h?{query}")
        assert message.startswith("recorded: ")
        assert "cret" not in message
    assert "there is no option 'colour'" in refused("recorded://h?colour=1")
    assert "cret" not in refused("bob:98/secret@h?x=a://b")


def test_options(recorded: type[Recorded]) -> None:
    create_backend("recorded://h?name=a%20b&size=7&wait=0.5&loud=Yes&mode=fast")
    assert recorded.made == ("recorded://h", "a b", 7, 0.5, True, "Fast")
    create_backend("recorded://h?size=7&loud=off", {"size": 8, "wait": 2, "mode": "SAFE"})
    assert recorded.made == ("recorded://h", "", 8, 2.0, False, "SAFE")


def test_a_mistyped_option_names_the_nearest_and_all() -> None:
    for message in (refused("sqlite:///x.db?synchronus=FULL"), refused("sqlite:///x.db", {"synchronus": "FULL"})):
        assert "'synchronus'" in message
        assert "did you mean 'synchronous'" in message
        assert "busy_timeout" in message
        assert "auto_migrate" in message
    assert "did you mean" not in refused("memory://?qqq=1")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("size=many", "'size' takes a whole number"),
        ("size=1.5", "'size' takes a whole number"),
        ("wait=soon", "'wait' takes a number"),
        ("loud=perhaps", "'loud' takes true or false"),
        ("mode=wild", "'mode' takes one of Fast, SAFE"),
        ("size=1&size=2", "'size' twice"),
    ],
)
def test_wrong_values(recorded: type[Recorded], query: str, says: str) -> None:
    assert says in refused(f"recorded://?{query}")


def test_wrong_values_of_options_given_as_objects(recorded: type[Recorded]) -> None:
    for options in ({"size": 1.5}, {"size": True}, {"wait": None}, {"loud": 1}, {"mode": 3}):
        assert re.search("takes (a|true|one)", refused("recorded://", options))


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BACKENDS, "elsewhere", Entry("a_driver_that_is_not_here:X", extra="elsewhere"))
    message = refused("elsewhere://me:hunter2@h")
    assert "'a_driver_that_is_not_here'" in message
    assert "pip install 'investigation-sdk[elsewhere]'" in message
    assert "hunter2" not in message


def test_a_broken_package_is_not_taken_for_a_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BACKENDS, "broken", Entry("investigation_backends.nowhere:X", extra="broken"))
    with pytest.raises(ImportError):
        create_backend("broken://")


def test_every_entry_can_be_loaded_and_has_options() -> None:
    for scheme, entry in registry.BACKENDS.items():
        assert hasattr(registry._load(scheme, entry), "from_url")


def test_another_distribution_names_its_backend_by_an_entry_point(
    recorded: type[Recorded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "their_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-backend\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[investigation_sdk.backends]\ntheirs = recorded_backend:Recorded\nsqlite = recorded_backend:Recorded\n"
    )
    assert "did you mean" not in refused("theirs://h")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(create_backend("theirs://h?size=7"), Recorded)
    assert recorded.made == ("theirs://h", "", 7, 1.0, False, "SAFE")
    assert "did you mean 'theirs'" in refused("theirz://h")
    assert isinstance(create_backend("sqlite:////var/lib/cases.db"), SQLiteBackend), "a scheme of ours was taken"
