"""Files and stores that are damaged, and replays that are interrupted."""

import signal
import sqlite3
import subprocess
import sys

import pytest

from investigation_sdk import InvestigationPaused
from tests.examples.replay_agent_runs.runs import EXAMPLE, investigations, run_of


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{not json", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[1, 2]", "is not an object"),
        (b'{"calls": []}', 'has no text as "instruction"'),
        (b'{"instruction": "", "calls": []}', 'has no text as "instruction"'),
        (b'{"instruction": "x", "calls": {}}', 'has no list as "calls"'),
        (b'{"instruction": "x", "calls": [{"tool": "t", "arguments": {}}]}', 'call 1 has not all of "tool"'),
        (
            b'{"instruction": "x", "calls": [{"tool": "", "arguments": {}, "output": 1}]}',
            'call 1 has no text as "tool"',
        ),
        (b'{"instruction": "x", "calls": [{"tool": "t", "arguments": [], "output": 1}]}', "call 1 has no object"),
        (b'{"instruction": "x", "calls": [], "calls": []}', "an object has 'calls' twice"),
        (b"[" * 1_000_000, "is nested too deeply"),
        (b'{"instruction": "x", "calls": [], "n": ' + b"9" * 5000 + b"}", "is not JSON"),
    ],
)
def test_a_malformed_line_is_named_and_the_others_are_recorded(replay, write, lite, line, reason):
    status, out, err = replay(write(run_of(), line, run_of(("f", {"a": 1}, 2))))
    assert status == 1
    [said] = [text for text in err.splitlines() if "runs.jsonl: line 2 " in text]
    assert reason in said
    assert "DIFFERENT  line 2 " in out
    assert "2 of 2 chains verified" in out
    assert len(investigations(lite)) == 2


def test_a_line_without_end(load_example, replay, write, monkeypatch):
    monkeypatch.setattr(load_example("_run_file"), "LINE_LIMIT", 1000)
    status, out, _ = replay(write(run_of(), b"x" * 5000, run_of(("f", {}, 1)), b"y" * 1000, run_of()))
    assert status == 1
    assert "line 2 is longer than 1,000 bytes" in out
    assert "line 4 is longer than 1,000 bytes" in out
    assert "3 of 3 chains verified" in out


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE tool_executions SET output_result = replace(output_result, 'paid 2', 'paid 9')",
            'call 2 (f): output is "paid 900", the file has "paid 200"',
        ),
        (
            "UPDATE tool_executions SET input_parameters = replace(input_parameters, 'ana', 'eve')",
            'call 1 (f): arguments is {"who": "eve"}, the file has {"who": "ana"}',
        ),
        ("UPDATE tool_executions SET tool_name = 'g' WHERE output_result LIKE '%200%'", 'call 2 (f): tool is "g"'),
        ("DELETE FROM tool_executions WHERE output_result LIKE '%200%'", "number of calls is 1, the file has 2"),
        ("UPDATE investigations SET status = 'failed'", 'state is "failed", the file has "completed"'),
        (
            "UPDATE investigations SET configuration = replace(configuration, 'Change', 'Cancel')",
            'instruction is "Cancel my flight.", the file has "Change my flight."',
        ),
        ("UPDATE investigations SET metadata = replace(metadata, '1.0', '0.0')", 'metadata is {"reward": 0.0'),
        ("UPDATE investigations SET investigation_type = 'train'", "the list of investigations has no "),
        (
            "UPDATE investigation_events SET event_data = replace(event_data, 'paid 2', 'paid 9')",
            "(tool.completed) or the one",
        ),
    ],
)
def test_what_was_changed_in_the_store_is_found(example, replay, write, sqlite_url, monkeypatch, statement, said):
    path = write(run_of(("f", {"who": "ana"}, "paid 100"), ("f", {"who": "bo"}, "paid 200")))

    async def tampered(*arguments):
        database = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
        with database:
            assert database.execute(statement).rowcount
        database.close()
        async for record in listed(*arguments):
            yield record

    listed = example.listed
    monkeypatch.setattr(example, "listed", tampered)
    status, out, _ = replay(path)
    assert status == 1
    [problem] = [line for line in out.splitlines() if line.startswith("  DIFFERENT")]
    assert problem.startswith("  DIFFERENT  line 1")
    assert said in problem


def test_a_file_that_is_changed_meanwhile(example, replay, write, monkeypatch, capsys):
    path = write(run_of(), run_of(("f", {}, 1)))

    def changed(*arguments):
        path.write_text(path.read_text().replace("Change", "Cancel"))
        return load(*arguments)

    load = example.load
    monkeypatch.setattr(example, "load", changed)
    with pytest.raises(SystemExit) as stopped:
        replay(path)
    assert stopped.value.code == 2
    assert "runs.jsonl was changed while it was replayed: line 1 is another now" in capsys.readouterr().err


def test_a_replay_that_was_killed_is_taken_over(replay, write, lite, sqlite_url, tmp_path):
    path = write(*(run_of(*(("f", {"call": number}, number) for number in range(50)), trial=t) for t in range(40)))
    killer = tmp_path / "killer.py"
    killer.write_text(
        f"import os, signal, sys\nsys.path.insert(0, {str(EXAMPLE.parent)!r})\nimport replay_agent_runs as r\n"
        "made = r.stand_in('f')\ncount = 0\n"
        "async def f(**arguments):\n    global count\n    count += 1\n"
        "    if count == 500:\n        os.kill(os.getpid(), signal.SIGKILL)\n    return await made(**arguments)\n"
        "r.stand_in = lambda name: f\nr.main(sys.argv[1:])\n"
    )
    done = subprocess.run([sys.executable, killer, path, "--db", sqlite_url], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert "running" in {record.status for record in investigations(lite)}
    status, out, _ = replay(path)
    assert status == 0, out
    assert "Read back: 2000 of 2000 calls exactly as in the file, 40 of 40 chains verified" in out
    assert len(investigations(lite)) == 40
    assert {record.status for record in investigations(lite)} == {"completed"}


def test_an_interrupted_replay_goes_on(example, replay, write, lite, monkeypatch):
    path = write(*(run_of(("f", {"call": t}, t), trial=t) for t in range(10)))

    async def interrupted(sdk, file, place, outcome, *, again):
        if place.line == 6:
            raise KeyboardInterrupt
        await record(sdk, file, place, outcome, again=again)

    record = example.record
    monkeypatch.setattr(example, "record", interrupted)
    status, out, err = replay(path, "--concurrency", "1")
    assert (status, out) == (130, "")
    assert err.endswith("interrupted; the same command goes on\n")
    assert len(investigations(lite)) == 5
    monkeypatch.setattr(example, "record", record)
    status, out, err = replay(path)
    assert status == 0, out
    assert "recorded: 5 runs with 5 calls, 5 were recorded before" in err


def test_a_run_that_is_paused_is_left_alone(example, replay, write, sqlite_url, make_sdk):
    path = write(run_of(), run_of(("f", {}, 1)))
    [first, _], _ = example.survey(path)

    owner = make_sdk(sqlite_url, on_pause="raise")
    with (
        pytest.raises(InvestigationPaused),
        owner.investigation("x", investigation_type="airline", key=first.key) as paused,
    ):
        owner.sync.service.pause(paused.id, "the customer objects")
        with paused.phase("never"):
            pass
    status, out, _ = replay(path)
    assert status == 1
    assert "line 1 was not recorded: " in out
    assert paused.id in out
    assert "1 of 1 chains verified" in out
