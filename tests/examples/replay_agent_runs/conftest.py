"""The example that records real agent runs."""

import json

import pytest


@pytest.fixture(scope="module")
def example(load_example):
    return load_example("replay_agent_runs")


@pytest.fixture
def write(tmp_path):
    """Write runs (as objects), or lines as they are, to a file."""

    def write(*lines):
        path = tmp_path / "runs.jsonl"
        texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        path.write_bytes(b"\n".join([*texts, b""]))
        return path

    return write


@pytest.fixture
def replay(example, sqlite_url, capsys):
    """Run the command; returns its exit status, stdout and stderr."""

    def run(path, *arguments, url=sqlite_url):
        status = example.main([str(path), "--db", url, *arguments])
        return status, *capsys.readouterr()

    return run
