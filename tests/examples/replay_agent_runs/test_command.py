"""The example as a command: how it is used, and what it says."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from investigation_sdk import InvestigationSDK
from tests.examples.replay_agent_runs.runs import AWKWARD, EXAMPLE, investigations, run_of


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no file"),
        (b"", "is empty"),
        (b"\n\n", "has no run in it"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "has no run in it"),
    ],
)
def test_a_wrong_file_makes_no_database(example, replay, content, sentence, sqlite_url, tmp_path, capsys):
    path = tmp_path / "runs.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        replay(path)
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert sentence in err.splitlines()[-1]
    assert not out
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--concurrency", "0"], "'0' is not a whole number greater than 0"),
        (["--concurrency", "many"], "'many' is not a whole number"),
        (["--db", "carrier-pigeon://loft"], "carrier-pigeon"),
        (["--db", "sqlite:////no/such/folder/x.db"], "/no/such/folder"),
    ],
)
def test_bad_usage_is_answered_with_one_sentence(example, write, arguments, sentence, sqlite_url, capsys):
    with pytest.raises(SystemExit) as stopped:
        example.main([str(write(run_of())), "--db", sqlite_url, *arguments])
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not out


def test_a_folder_and_a_file_that_cannot_be_read(example, tmp_path, sqlite_url, capsys):
    with pytest.raises(SystemExit):
        example.main([str(tmp_path), "--db", sqlite_url])
    assert f"{tmp_path} is not a file" in capsys.readouterr().err


def test_the_next_command_is_one(replay, write, sqlite_url, lite):
    _, out, _ = replay(write(*AWKWARD))
    commands = [line.split(": ", 1)[1] for line in out.splitlines() if ": investigate " in line]
    assert len(commands) == 2
    listing, one = (
        subprocess.run(
            [sys.executable, "-m", "investigation_sdk", *shlex.split(command)[1:]],
            capture_output=True,
            text=True,
            check=False,
        )
        for command in commands
    )
    assert (listing.returncode, one.returncode) == (0, 0), (listing.stderr, one.stderr)
    assert all(record.id in listing.stdout for record in investigations(lite))
    assert "airline" in one.stdout


def test_a_store_that_is_gone_has_no_next_command(replay, write):
    assert "investigate" not in replay(write(run_of()), url="memory://")[1]


@pytest.mark.parametrize("concurrency", ["1", "3", "500"])
def test_any_concurrency(replay, write, concurrency):
    path = write(*(run_of(("f", {"n": n}, n), trial=n) for n in range(20)))
    status, out, _ = replay(path, "--concurrency", concurrency)
    assert status == 0
    assert f"{min(int(concurrency), 20)} runs at a time" in out


def test_as_a_command(write, tmp_path):
    path = write(*AWKWARD)
    done = subprocess.run(
        [sys.executable, EXAMPLE, path],
        env={**os.environ, "INVESTIGATION_URL": f"sqlite:///{tmp_path / 'runs.db'}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with InvestigationSDK(f"sqlite:///{tmp_path / 'runs.db'}") as sdk:
        assert len(investigations(sdk)) == 6
