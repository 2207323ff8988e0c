"""Generates what the documentation repeats of the code: tables between markers, and pictures.

Usage: generate_docs.py [--check]; with --check nothing is written, and a file that is out of date is exit code 1.

A page holds a block as ``<!-- generated: name -->`` … ``<!-- end -->``; what stands between is replaced.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import draw
from draw import Message, Note
from fastapi import APIRouter
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.routing import BaseRoute

from investigation_sdk import InvestigationSDK, errors
from investigation_sdk.api import create_app, create_router
from investigation_sdk.domain.event_types import EventType
from investigation_sdk.domain.states import ALLOWED_TRANSITIONS, WAYS, Verb, Way
from investigation_sdk.domain.states import InvestigationState as State

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


# ---- states


def transitions() -> str:
    """From each state, what follows."""
    return table(["from", "to"], [[s, ", ".join(to) or "(final)"] for s, to in ALLOWED_TRANSITIONS.items()])


VERBS = {
    Verb.OPEN: "a new owner opens it",
    Verb.PAUSE: "pause",
    Verb.CANCEL: "cancel",
    Verb.RETRY: "retry",
    Verb.RESUME: "resume",
    Verb.END_WELL: "block ends well",
    Verb.END_WITH_ERROR: "block ends with an error",
}
RESTART = (State.RETRYING, State.INITIALIZING, State.RUNNING)
DEPENDS = {
    (State.PAUSED, Verb.OPEN): "stays; running if a resume was requested",
    (State.PAUSED, Verb.RESUME): "running; if nobody drives it, the request is recorded",
    (State.CANCELLED, Verb.END_WELL): "raises `InvestigationCancelled`",
    (State.CANCELLED, Verb.END_WITH_ERROR): "raises the block's own error",
}
"""What depends on more than the state, and what a block does that ends in a cancelled investigation."""


def way(state: State, verb: Verb, steps: Way) -> str:
    """One cell: the states to pass."""
    if (state, verb) in DEPENDS:
        return DEPENDS[state, verb]
    if steps is None:
        return "R"
    if not steps:
        return "-"
    names: list[str] = [str(step) for step in steps]
    if steps[-3:] == RESTART:
        names[-3:] = ["+"]
    if verb is Verb.OPEN and steps[0] is State.FAILED:
        names[0] = "failed (crashed)"
    return ", ".join(names)


def ways() -> str:
    """What each verb does in each state."""
    rows = [[state, *(way(state, verb, steps) for verb, steps in verbs.items())] for state, verbs in WAYS.items()]
    return table(["state", *(VERBS[verb] for verb in Verb)], rows)


def states_picture() -> str:
    """The transitions, drawn."""
    left, middle, right, far = 84, 264, 444, 624
    places = {
        State.CREATED: (left, 50),
        State.QUEUED: (middle, 50),
        State.INITIALIZING: (right, 50),
        State.RUNNING: (right, 150),
        State.COMPLETING: (right, 250),
        State.COMPLETED: (right, 350),
        State.PAUSED: (middle, 150),
        State.CANCELLED: (left, 250),
        State.FAILED: (far, 200),
        State.RETRYING: (far, 50),
    }
    bends = {
        (State.RUNNING, State.PAUSED): 24,
        (State.PAUSED, State.RUNNING): 24,
        (State.FAILED, State.RETRYING): 28,
        (State.RETRYING, State.FAILED): 28,
        (State.QUEUED, State.CANCELLED): 30,
        (State.FAILED, State.CANCELLED): -150,
    }
    drawn = {str(state): [str(t) for t in to] for state, to in ALLOWED_TRANSITIONS.items()}
    named = {(str(a), str(b)): bend for (a, b), bend in bends.items()}
    title = "The states of an investigation and all legal transitions; the table on this page says the same"
    return draw.states(drawn, {str(state): place for state, place in places.items()}, named, title)


# ---- one call


def call_picture() -> str:
    """The life of one call with durability SYNC."""
    participants = [
        ("agent", "your code"),
        ("recording", "@tool"),
        ("session", "decide, fold"),
        ("writer", "I/O thread"),
        ("backend", "the store"),
    ]
    steps: list[Message | Note] = [
        Message("agent", "recording", 'lookup("42")'),
        Message("recording", "recording", "bind, encode once"),
        Message("recording", "session", "submit tool.started"),
        Message("session", "session", "may it? if so: fold"),
        Message("session", "writer", "queued"),
        Note("effect idempotent or unsafe, or STRICT: wait here until the start is durable"),
        Message("session", "recording", "go on", answer=True),
        Message("recording", "agent", "run the body"),
        Message("agent", "recording", "its value", answer=True),
        Message("recording", "session", "submit tool.completed"),
        Message("session", "writer", "wake"),
        Message("writer", "writer", "number, chain"),
        Message("writer", "backend", "commit, many at once"),
        Message("backend", "writer", "applied", answer=True),
        Message("writer", "recording", "durable", answer=True),
        Message("recording", "agent", "the value", answer=True),
        Message("writer", "writer", "tell the observers"),
    ]
    return draw.sequence(participants, steps, "The life of one tool call, from the agent to the store and back")


# ---- events and errors


def member_docs(cls: type) -> dict[str, str]:
    """The docstrings under the members of an enumeration."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for member, said in zip(body.body, body.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant):
            assert isinstance(member.targets[0], ast.Name)
            found[member.targets[0].id] = " ".join(str(said.value.value).split())
    return found


def events() -> str:
    """All types of events, and when each is written."""
    said = member_docs(EventType)
    if missing := [member.name for member in EventType if member.name not in said]:
        raise SystemExit(f"EventType.{missing[0]} has no docstring under it: say when it is written")
    return table(["type", "written when"], [[f"`{t.value}`", said[t.name].replace("``", "`")] for t in EventType])


def errors_tree() -> str:
    """The errors as a tree with the first line of each."""
    lines: list[str] = []

    def branch(cls: type[BaseException], depth: int) -> None:
        first = (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")
        first = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", first)
        lines.append(f"{'    ' * depth}- `{cls.__name__}`: {first}\n")
        children: list[type[BaseException]] = cls.__subclasses__()
        for child in sorted(children, key=lambda c: c.__name__):
            if child.__module__ == errors.__name__:
                branch(child, depth + 1)

    branch(errors.InvestigationError, 0)
    branch(errors.InvestigationInterrupt, 0)
    return "\n" + "".join(lines) + "\n"


# ---- the HTTP API


def routes_of(router: APIRouter) -> Iterator[BaseRoute]:
    """All routes, those of routers in it, too."""
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from routes_of(inner)


def _named(route: APIRoute | APIWebSocketRoute) -> str:
    named = [*route.dependant.query_params, *route.dependant.header_params]
    for inner in route.dependant.dependencies:
        named += [*inner.query_params, *inner.header_params]
    return ", ".join(f"`{one.alias}`" for one in named)


def endpoints() -> str:
    """Each endpoint: what it does, takes and answers."""
    sdk = InvestigationSDK("memory://")
    described = create_app(sdk, allow_anonymous=True).openapi()["paths"]
    rows: list[list[str]] = []
    for route in routes_of(create_router(sdk, allow_anonymous=True)):
        if isinstance(route, APIRoute):
            for method in sorted(route.methods or ()):
                said = described[route.path][method.lower()]
                answers = ", ".join(sorted(said["responses"]))
                rows.append([f"`{method} {route.path}`", said["description"], _named(route), answers])
        elif isinstance(route, APIWebSocketRoute):
            rows.append([f"`WS {route.path}`", inspect.getdoc(route.endpoint) or "", _named(route), ""])
    return table(
        ["request", "does", "query, headers", "answers"], [[cell.replace("``", "`") for cell in row] for row in rows]
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "transitions": lambda: "\n" + transitions() + "\n",
    "ways": lambda: "\n" + ways() + "\n",
    "events": lambda: "\n" + events() + "\n",
    "errors": errors_tree,
    "endpoints": lambda: "\n" + endpoints() + "\n",
}
PICTURES: dict[str, Callable[[], str]] = {
    "reference/states.svg": states_picture,
    "explanation/one-call.svg": call_picture,
}


def generate() -> dict[Path, str]:
    """Every file that holds something generated, with its text."""
    files: dict[Path, str] = {DOCS / name: make() for name, make in PICTURES.items()}
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        made = BLOCK.sub(lambda match: match[1] + BLOCKS[match[2]]() + match[3], text)
        if "<!-- generated:" in text:
            files[page] = made
    return files


def main() -> int:
    """Write the files, or say whether they are up to date."""
    check = "--check" in sys.argv[1:]
    stale = 0
    for path, text in generate().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if check:
            name = path.relative_to(ROOT)
            print(f"{name} is out of date; run: .venv/bin/python .ci/generate_docs.py", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
