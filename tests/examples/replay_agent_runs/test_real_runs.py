"""The runs of the real file."""

import json
from collections import Counter

import pytest

from tests.examples.replay_agent_runs.runs import investigations, stored


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


@pytest.mark.server
def test_the_real_runs_twice_on_postgresql(replay, real_data, postgres_store):
    path = real_data("airline_agent_runs.jsonl")
    for said in ("Recorded 150 runs with 862 calls", "Nothing to record"):
        status, out, _ = replay(path, url=postgres_store)
        assert status == 0, out
        assert said in out
        assert "Read back: 862 of 862 calls exactly as in the file, 150 of 150 chains verified" in out


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
