"""Runs that were made to be awkward come back exactly, recorded once or again."""

from tests.examples.replay_agent_runs.runs import AWKWARD, investigations, run_of


def test_awkward_runs_on_postgresql(replay, write, postgres_store):
    status, out, _ = replay(write(*AWKWARD), url=postgres_store)
    assert status == 0, out


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
