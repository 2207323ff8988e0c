"""Runs of agents as a file has them, and what the store has of them."""

from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "replay_agent_runs.py"


def run_of(*calls, instruction="Change my flight.", **facts):
    made = [{"tool": tool, "arguments": arguments, "output": output} for tool, arguments, output in calls]
    return {"task_id": 1, "trial": 0, "reward": 1.0, "instruction": instruction, "calls": made, **facts}


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


AWKWARD = [
    run_of(("f", {"x": 255.0, "y": 255, "z": True, "self": -0.0}, None), ("f", {}, [])),
    run_of(("f", {"": 1, "name": "n", "args": 2, "kwargs": 3, "**arguments": 4}, {"$type": "tuple", "items": [1]})),
    run_of(("größe", {"b": 1, "a": 2}, "Error: \0 \ud800 \u2028 😀"), instruction="long " * 4000, trial="first"),
    run_of(("f", {"big": 10**400, "nan": float("nan"), "float": 1e22}, [[[[[{}]]]]]), reward=None),
    run_of(),
    {"instruction": "no facts", "calls": []},
]
