"""Pictures for the documentation, as SVG that needs nothing else: a graph of states, and a sequence of messages.

Each stands on a card of its own, light or dark by the reader's preference, so that it can be read on any page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import hypot
from typing import NamedTuple

STYLE = """
  .card { fill: #ffffff; stroke: #d5d9e2; }
  text { font: 14px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1c2330; }
  .small { font-size: 12.5px; fill: #55607a; }
  .over { paint-order: stroke; stroke: #ffffff; stroke-width: 5px; }
  .node { fill: #eef2fb; stroke: #5b74b8; stroke-width: 1.3; }
  .final { fill: #e9f5ee; stroke: #3d8b60; stroke-width: 1.3; }
  .line { fill: none; stroke: #66728c; stroke-width: 1.3; }
  .dashed { stroke-dasharray: 4 4; }
  .head { fill: #66728c; stroke: none; }
  .life { stroke: #b9c1d3; stroke-width: 1.2; }
  .band { fill: #f4f6fb; stroke: #d5d9e2; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #171b24; stroke: #343c4d; }
    text { fill: #e6e9f0; }
    .small { fill: #a4aec4; }
    .over { stroke: #171b24; }
    .node { fill: #232c42; stroke: #7f98dd; }
    .final { fill: #1d3328; stroke: #63b98b; }
    .line { stroke: #96a1b8; }
    .head { fill: #96a1b8; }
    .life { stroke: #465066; }
    .band { fill: #1f2532; stroke: #343c4d; }
  }
""".rstrip()

HEAD = (
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
    'orient="auto-start-reverse"><path class="head" d="M0 1 L10 5 L0 9 z"/></marker></defs>'
)

Point = tuple[float, float]


def picture(width: int, height: int, title: str, body: Sequence[str]) -> str:
    """A whole SVG."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}\n</style>",
            HEAD,
            f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
            *body,
            "</svg>",
            "",
        ]
    )


# ---- a graph of states

NODE_W, NODE_H = 112, 38


def _edge_of_node(center: Point, towards: Point) -> Point:
    """Where a straight line from the middle of a node to a point leaves its box."""
    (x, y), (tx, ty) = center, towards
    dx, dy = tx - x, ty - y
    scale = min(NODE_W / 2 / abs(dx) if dx else 9e9, NODE_H / 2 / abs(dy) if dy else 9e9)
    return (x + dx * scale, y + dy * scale)


def _arrow(start: Point, end: Point, bend: float) -> str:
    """A curve from node to node; `bend` pushes its middle to the right of its direction."""
    mx, my = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    length = hypot(end[0] - start[0], end[1] - start[1])
    nx, ny = -(end[1] - start[1]) / length, (end[0] - start[0]) / length
    control = (mx + nx * bend, my + ny * bend)
    a, b = _edge_of_node(start, control), _edge_of_node(end, control)
    return (
        f'<path class="line" marker-end="url(#head)" d="M{a[0]:.1f} {a[1]:.1f} '
        f'Q{control[0]:.1f} {control[1]:.1f} {b[0]:.1f} {b[1]:.1f}"/>'
    )


def states(
    table: Mapping[str, Sequence[str]], places: Mapping[str, Point], bends: Mapping[tuple[str, str], float], title: str
) -> str:
    """Draw a table of transitions.

    Args:
        table: From each state, the states that follow. Each pair becomes one arrow.
        places: The middle of each state.
        bends: How far an arrow is bent, where it is not straight.
        title: For those who cannot see it.

    Raises:
        SystemExit: a state has no place, or a bend belongs to no arrow.
    """
    arrows = [(here, there) for here, following in table.items() for there in following]
    if missing := set(table) - set(places):
        raise SystemExit(f"no place to draw the states {', '.join(sorted(missing))}: give them one")
    if unused := set(bends) - set(arrows):
        raise SystemExit(f"bends of arrows that are not in the table: {sorted(unused)}")
    body = [_arrow(places[a], places[b], bends.get((a, b), 0)) for a, b in arrows]
    for name, (x, y) in places.items():
        kind = "node" if table[name] else "final"
        rect = f'x="{x - NODE_W / 2}" y="{y - NODE_H / 2}" width="{NODE_W}" height="{NODE_H}" rx="9"'
        body.append(f'<rect class="{kind}" {rect}/>')
        body.append(f'<text x="{x}" y="{y + 5}" text-anchor="middle">{escape(name)}</text>')
    width = int(max(x for x, _ in places.values()) + NODE_W / 2 + 28)
    height = int(max(y for _, y in places.values()) + NODE_H / 2 + 28)
    return picture(width, height, title, body)


# ---- a sequence of messages


class Message(NamedTuple):
    """One arrow from one participant to another, or to itself."""

    source: str
    target: str
    text: str
    answer: bool = False


class Note(NamedTuple):
    """A line across all participants."""

    text: str


LANE, LEFT, TOP, STEP = 170, 95, 84, 40


def _words(x: float, y: float, text: str, style: str = "small") -> str:
    """A text around a point."""
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="middle">{escape(text)}</text>'


def sequence(participants: Sequence[tuple[str, str]], steps: Sequence[Message | Note], title: str) -> str:
    """Draw who says what to whom, from top to bottom.

    Args:
        participants: Name and what it is, from left to right.
        steps: In order.
        title: For those who cannot see it.
    """
    lane = {name: LEFT + LANE * n for n, (name, _) in enumerate(participants)}
    width = LEFT * 2 + LANE * (len(participants) - 1)
    height = TOP + STEP * len(steps) + 24
    body: list[str] = []
    for name, what in participants:
        x = lane[name]
        body.append(f'<line class="life" x1="{x}" y1="{TOP - 16}" x2="{x}" y2="{height - 16}"/>')
        body.append(f'<rect class="node" x="{x - 72}" y="18" width="144" height="48" rx="8"/>')
        body.append(f'<text x="{x}" y="38" text-anchor="middle">{escape(name)}</text>')
        body.append(f'<text class="small" x="{x}" y="56" text-anchor="middle">{escape(what)}</text>')
    for n, step in enumerate(steps):
        y = TOP + STEP * n + 22
        if isinstance(step, Note):
            body.append(f'<rect class="band" x="20" y="{y - 19}" width="{width - 40}" height="27" rx="5"/>')
            body.append(_words(width / 2, y - 1, step.text))
            continue
        a, b = lane[step.source], lane[step.target]
        dashed = " dashed" if step.answer else ""
        if a == b:
            body.append(
                f'<path class="line{dashed}" marker-end="url(#head)" d="M{a} {y - 8} h22 v16 h-20"/>'
                f'<text class="small over" x="{a + 30}" y="{y + 4}">{escape(step.text)}</text>'
            )
            continue
        body.append(f'<line class="line{dashed}" marker-end="url(#head)" x1="{a}" y1="{y + 4}" x2="{b}" y2="{y + 4}"/>')
        body.append(_words((a + b) / 2, y - 3, step.text, "small over"))
    return picture(width, height, title, body)
