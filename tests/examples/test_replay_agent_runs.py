"""The example that records real agent runs: on the real file, and on files made to be awkward."""

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from investigation_sdk import InvestigationPaused, InvestigationSDK

EXAMPLE = Path(__file__).parents[2] / "examples" / "replay_agent_runs.py"


@pytest.fixture(scope="module")
def example(load_example):
    return load_example("replay_agent_runs")


def run_of(*calls, instruction="Change my flight.", **facts):
    made = [{"tool": tool, "arguments": arguments, "output": output} for tool, arguments, output in calls]
    return {"task_id": 1, "trial": 0, "reward": 1.0, "instruction": instruction, "calls": made, **facts}


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


def all_tools(sdk, investigation_id):
    calls, after = [], None
    while True:
        page = sdk.sync.tools(investigation_id, after=after, limit=7)
        calls += page
        if (after := page.next) is None:
            return calls


def investigations(sdk):
    found, after = [], None
    while True:
        page = sdk.sync.list(investigation_type="airline", after=after)
        found += page
        if (after := page.next) is None:
            return found


def stored(sdk):
    """By instruction and trial: what the store has, read without the example's own code."""
    return {
        (record.configuration["instruction"], record.metadata.get("trial")): [
            (call.tool_name, call.input_parameters, call.output_result) for call in all_tools(sdk, record.id)
        ]
        for record in investigations(sdk)
    }


def test_the_real_runs(replay, real_data, url):
    path = real_data("airline_agent_runs.jsonl")
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    status, out, err = replay(path, url=url)
    assert status == 0, out
    assert len(runs) == 150
    assert "Read back: 862 of 862 calls exactly as in the file, 150 of 150 chains verified" in out
    assert "recorded: 150 runs with 862 calls" in err
    tools = Counter(call["tool"] for run in runs for call in run["calls"])
    errors = Counter(c["tool"] for run in runs for c in run["calls"] if str(c["output"]).startswith("Error"))
    table = {words[0]: words[1:4] for line in out.splitlines() if len(words := line.split()) == 5}
    for name, count in tools.items():
        assert table[name] == [str(count), "0", str(errors[name])]
    for reward in (0.0, 1.0):
        of_reward = [run for run in runs if run["reward"] == reward]
        calls = sum(len(run["calls"]) for run in of_reward)
        assert table[str(reward)] == [str(len(of_reward)), str(len(of_reward)), str(calls)]


def test_the_real_runs_on_postgresql(replay, real_data, postgres_store):
    path = real_data("airline_agent_runs.jsonl")
    for said in ("Recorded 150 runs with 862 calls", "Nothing to record"):
        status, out, _ = replay(path, url=postgres_store)
        assert status == 0, out
        assert said in out
        assert "Read back: 862 of 862 calls exactly as in the file, 150 of 150 chains verified" in out


def test_awkward_runs_on_postgresql(replay, write, postgres_store):
    status, out, _ = replay(write(*AWKWARD), url=postgres_store)
    assert status == 0, out


def test_the_real_runs_are_in_the_store(replay, real_data, sqlite_url, make_sdk):
    path = real_data("airline_agent_runs.jsonl")
    assert replay(path)[0] == 0
    sdk = make_sdk(sqlite_url)
    expected = {
        (run["instruction"], run["trial"]): [(c["tool"], c["arguments"], c["output"]) for c in run["calls"]]
        for run in map(json.loads, path.read_text().splitlines())
    }
    assert stored(sdk) == expected
    assert {record.status for record in investigations(sdk)} == {"completed"}
    assert all(sdk.sync.verify(record.id).ok for record in investigations(sdk))


AWKWARD = [
    run_of(("f", {"x": 255.0, "y": 255, "z": True, "self": -0.0}, None), ("f", {}, [])),
    run_of(("f", {"": 1, "name": "n", "args": 2, "kwargs": 3, "**arguments": 4}, {"$type": "tuple", "items": [1]})),
    run_of(("größe", {"b": 1, "a": 2}, "Error: \0 \ud800 \u2028 😀"), instruction="long " * 4000, trial="first"),
    run_of(("f", {"big": 10**400, "nan": float("nan"), "float": 1e22}, [[[[[{}]]]]]), reward=None),
    run_of(),
    {"instruction": "no facts", "calls": []},
]


def test_awkward_runs_come_back_exactly(replay, write, url):
    status, out, _ = replay(write(*AWKWARD), url=url)
    assert (status, "DIFFERENT" in out) == (0, False), out
    assert "Read back: 5 of 5 calls exactly as in the file, 6 of 6 chains verified" in out


def test_values_that_python_takes_for_equal_differ(example):
    for one, other in [(1, 1.0), (1, True), (0.0, -0.0), (10**22, 1e22)]:
        assert one == other
        assert example.difference("line 1", "output", one, other)
        assert example.difference("line 1", "output", one, one) is None
    assert example.difference("line 1", "output", {"a": 1, "b": 2}, {"b": 2, "a": 1}) is None, (
        "in JSON they have no order"
    )


def test_a_second_replay_records_nothing_and_checks_all(replay, write, lite):
    path = write(*AWKWARD)
    assert replay(path)[0] == 0
    first = {record.id: record.version for record in investigations(lite)}
    status, out, err = replay(path)
    assert status == 0
    assert "recorded: 0 runs with 0 calls, 6 were recorded before" in err
    assert "Nothing to record" in out
    assert "Read back: 5 of 5 calls" in out
    assert {record.id: record.version for record in investigations(lite)} == first


def test_again_records_once_more(replay, write, lite):
    path = write(*AWKWARD)
    assert replay(path)[0] == 0
    status, out, _ = replay(path, "--again")
    assert status == 0
    assert "Recorded 6 runs with 5 calls" in out
    assert len(investigations(lite)) == 12


def test_equal_lines_are_two_runs(replay, write, lite):
    path = write(AWKWARD[0], AWKWARD[0], AWKWARD[0])
    assert replay(path)[0] == 0
    first = investigations(lite)
    assert len({record.key for record in first}) == 3
    assert all(record.key is not None and record.key.startswith("task_id-1-trial-0-") for record in first)
    assert replay(path)[0] == 0
    assert investigations(lite) == first


def test_a_line_that_changed_is_another_run(replay, write, lite):
    assert replay(write(AWKWARD[0]))[0] == 0
    assert replay(write(b"", {**AWKWARD[0], "reward": 0.0}, AWKWARD[0]))[0] == 0
    assert sorted(record.metadata["reward"] for record in investigations(lite)) == [0.0, 1.0]


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


def test_large_payloads_come_back_exactly(replay, write, url):
    large = {"text": "größe " * 50_000, "n": [1.0, 1, True]}
    run = run_of(("f", {"a": large}, large), ("f", {"a": 2}, "y"), instruction="long " * 20_000, reward=large)
    status, out, _ = replay(write(run), url=url)
    assert status == 0, out
    assert "Read back: 2 of 2 calls exactly as in the file, 1 of 1 chains verified" in out


def test_what_is_too_large_is_a_difference_not_a_loss(replay, write, most):
    status, out, _ = replay(write(run_of(("f", {"a": 1}, "x" * (most + 1)), ("f", {"a": 2}, "y"))))
    assert status == 1
    assert "call 1 (f): output is " in out
    assert "too_large" in out
    assert "Read back: 1 of 2 calls" in out


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
