"""A batch goes to the server by columns: what is the same in all of its rows goes once."""

from typing import Any

import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_sdk.storage.commit import APPLIED, CommitStatus
from investigation_sdk.testing.contract import Case


@pytest.mark.parametrize("differ", ["in nothing", "in one row", "in every row"])
async def test_what_is_alike_in_a_batch_is_sent_once(backend: PostgresBackend, differ: str) -> None:
    """Each row has its own values, however many of a column are the same, or NULL."""
    cases = [Case() for _ in range(5)]
    for case in cases:
        await case.apply(backend)
    calls = []
    commits = []
    for n, case in enumerate(cases):
        other = differ == "in every row" or (differ == "in one row" and n == 3)
        said: dict[str, Any] = {"tool_name": f"tool {n}", "agent_name": f"agent {n}", "attempt": n + 2} if other else {}
        held: dict[str, Any] = {"status": "paused", "tokens_used": n, "cost_estimate": f"0.{n}1"} if other else {}
        if other:
            said |= {"error_message": f"error {n}", "tokens_used": n, "cost_estimate": f"{n}.25", "source": "cached"}
            held |= {"priority": n, "error_message": f"held {n}", "result": f'{{"n":{n}}}', "retry_count": n}
        calls.append(case.tool(**said))
        commits.append(case.commit("a", rows=[calls[-1]], **held))
    assert list(await backend.commit(commits)) == [APPLIED] * 5
    for case, commit, call in zip(cases, commits, calls, strict=True):
        case.moved(commit)
        assert await backend.get("investigation", case.id) == case.row
        assert await backend.get("tool", call.id) == call
        assert list(await backend.read_events(case.id)) == case.events


@pytest.mark.parametrize("missing", range(3))
async def test_a_null_among_what_is_alike_does_not_take_the_value_of_others(
    backend: PostgresBackend, missing: int
) -> None:
    cases = [Case() for _ in range(3)]
    for case in cases:
        await case.apply(backend)
    none: Any = None
    commits = [
        case.commit("a", rows=[case.tool(tool_name=none if n == missing else "the same")])
        for n, case in enumerate(cases)
    ]
    results = await backend.commit(commits)
    assert [result.status for result in results] == [
        CommitStatus.DATA if n == missing else CommitStatus.APPLIED for n in range(3)
    ]
