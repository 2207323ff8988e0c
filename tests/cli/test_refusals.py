"""What cannot be done is said in one sentence, with exit status 2, and leaves nothing behind."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from investigation_backends.sql.names import REVISIONS, VERSION_TABLE
from tests.cli.conftest import Done, Ids
from tests.unwritable import nobody

Run = Callable[..., Done]
COMMANDS = [
    ["ls"],
    ["show", "x"],
    ["tools", "x"],
    ["events", "x"],
    ["verify", "x"],
    ["verify", "--all"],
    ["db", "current"],
    ["db", "check"],
    ["db", "upgrade", "--yes"],
]


def refused(done: Done) -> str:
    assert done.status == 2
    assert done.out == ""
    [sentence] = done.err.splitlines()
    assert sentence.startswith("investigate: ")
    return sentence.removeprefix("investigate: ")


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("given", ["nowhere.db", "sqlite:///nowhere.db", "no/folder/x.db"])
def test_a_wrong_path_creates_nothing(investigate: Run, database: Path, command: list[str], given: str) -> None:
    before = listing(database.parent)
    path = database.parent / given.removeprefix("sqlite:///")
    message = refused(investigate(*command, "--db", given))
    assert message == f"There is no database at {path}; name a file that is there"
    assert listing(database.parent) == before


def test_the_default_store_that_is_not_there(investigate: Run, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = database.parent / "investigations.db"
    message = f"There is no database at {path}; name a file that is there, by --db or INVESTIGATION_URL"
    for command in COMMANDS:
        assert refused(investigate(*command)) == message
    monkeypatch.setenv("INVESTIGATION_URL", f"sqlite:///{path}")
    assert refused(investigate("ls")) == message
    monkeypatch.setenv("INVESTIGATION_URL", f"sqlite:///{database}")
    assert investigate("ls").status == 0


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_reading_leaves_nothing_beside_the_database(investigate: Run, database: Path, command: list[str]) -> None:
    before = listing(database.parent)
    content = database.read_bytes()
    investigate(*command, "--db", str(database))
    assert listing(database.parent) == before
    assert database.read_bytes() == content


def test_not_a_database(investigate: Run, database: Path) -> None:
    (database.parent / "text.db").write_text("this is no database, but long enough to be taken for one" * 20)
    for command in COMMANDS:
        message = refused(investigate(*command, "--db", "text.db"))
        assert message.endswith("text.db is not a SQLite database (or is encrypted); name another file")


def test_a_folder(investigate: Run, database: Path) -> None:
    assert "is a folder; name a file in it" in refused(investigate("ls", "--db", "."))


def test_an_empty_file(investigate: Run, database: Path) -> None:
    (database.parent / "empty.db").touch()
    message = refused(investigate("ls", "--db", "empty.db"))
    assert "empty.db is empty" in message
    assert "investigate db upgrade --db" in message
    assert (database.parent / "empty.db").stat().st_size == 0


def test_an_applications_database(investigate: Run, database: Path) -> None:
    connection = sqlite3.connect("app.db")
    connection.execute("CREATE TABLE orders(id)")
    connection.close()
    message = refused(investigate("ls", "--db", "app.db"))
    assert "holds tables, but not the SDK's" in message
    assert "investigate db upgrade --db" in message


def set_revision(path: Path, revision: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"UPDATE {VERSION_TABLE} SET version_num=?", (revision,))
    connection.close()


def test_an_older_schema(on: Run, older: Path) -> None:
    for command in (["ls"], ["verify", "--all"]):
        message = refused(on(*command))
        assert f"has schema {REVISIONS[0]}, and this version works with {REVISIONS[-1]}" in message
        assert f"run: investigate db upgrade --db {older}" in message


def test_a_newer_schema(on: Run, database: Path) -> None:
    set_revision(database, "9999")
    for command in (["ls"], ["db", "check"], ["db", "upgrade", "--yes"]):
        message = refused(on(*command))
        assert (
            f"has schema 9999, which is newer than this version's {REVISIONS[-1]}; upgrade investigation-sdk" in message
        )


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("carrier-pigeon://loft", "there is no backend for 'carrier-pigeon' URLs"),
        ("sqlite://cases.db", "SQLite takes no host: write sqlite:///cases.db"),
        ("sqlite:///cases.db?colour=red", "sqlite: there is no option 'colour'"),
        ("postgres:me:s3cret", "this is not the URL of a store"),
        ("memory://", "memory:// ends with the process that it is in; name a database"),
    ],
)
def test_an_url_that_names_no_store(investigate: Run, database: Path, url: str, sentence: str) -> None:
    message = refused(investigate("ls", "--db", url))
    assert message.startswith(sentence)
    assert "s3cret" not in message
    assert listing(database.parent) == ["fraud.db"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "nothing-of-that-name"], "There is no investigation with the id or key 'nothing-of-that-name'."),
        (["show", "f" * 32], f"There is no investigation with the id or key '{'f' * 32}'."),
        (["show", "\x1b[2J"], "There is no investigation with the id or key '\\x1b[2J'."),
        (["show", "case-981", "--type", "x"], "There is no investigation of type 'x' with the id or key 'case-981'."),
        (["ls", "--after", "x"], "'x' is not an id of an investigation"),
        (["tools", "case-981", "--phase", "p"], "There is no phase 'p' in"),
        (["ls", "--since", "tomorrow"], "Invalid value for '--since': 'tomorrow' is no time: write 90s, 30m"),
        (["ls", "--limit", "0"], "Invalid value for '--limit': 0 is not in the range x>=1; see investigate ls --help"),
        (["ls", "--status", "dead"], "Invalid value for '--status': 'dead' is not one of 'created', 'queued'"),
        (["ls", "--colour"], "No such option"),
        (["lss"], "No such command 'lss'"),
        (["show"], "Missing argument 'REF'; see investigate show --help"),
        (["verify"], "name investigations, or all of them with --all; see investigate verify --help"),
        (["verify", "--all", "x"], "name investigations, or all of them with --all; see investigate verify --help"),
        (["events", "case-981", "--after", "x"], "Invalid value for '--after': 'x' is not a valid integer range"),
    ],
)
def test_what_is_asked_wrongly(investigate: Run, database: Path, arguments: list[str], sentence: str) -> None:
    place = [] if arguments == ["lss"] else ["--db", str(database)]
    assert refused(investigate(*arguments, *place)).startswith(sentence)


@pytest.mark.parametrize("option", ["--db", "--json", "--after"])
def test_an_option_before_the_command(investigate: Run, option: str) -> None:
    message = refused(investigate(option, "x", "ls"))
    assert message == f"{option} goes behind the command: investigate COMMAND {option} …"


def test_a_database_in_a_folder_that_cannot_be_written(investigate: Run, database: Path, ids: Ids) -> None:
    content = database.read_bytes()
    with nobody() as folder:
        path = folder / "fraud.db"
        path.write_bytes(content)
        path.chmod(0o444)
        folder.chmod(0o555)
        for command in (["ls"], ["show", ids.completed], ["verify", "--all"], ["db", "current"], ["db", "check"]):
            done = investigate(*command, "--db", str(path))
            assert (done.status, done.err) == (0, "")
        assert listing(folder) == ["fraud.db"]
        path.chmod(0o000)
        assert refused(investigate("ls", "--db", str(path))) == f"{path} cannot be read; change its permissions"


def test_no_command_is_help(investigate: Run) -> None:
    done = investigate()
    assert done.status == 2
    assert "Usage: investigate" in done.err
    assert investigate("db").status == 2
