"""The scripts that make the documentation notice what is wrong."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from investigation_sdk import ALLOWED_TRANSITIONS

ROOT = Path(__file__).resolve().parents[2]


def test_generated_tables_and_pictures_are_up_to_date(script: Any) -> None:
    generate: ModuleType = script("generate_docs")
    for path, text in generate.generate().items():
        name = path.relative_to(ROOT)
        assert path.read_text(encoding="utf-8") == text, f"{name}: run .venv/bin/python .ci/generate_docs.py"


def test_the_picture_of_states_has_each_state_and_each_transition(script: Any) -> None:
    svg = script("generate_docs").states_picture()
    assert svg.count('<path class="line"') == sum(map(len, ALLOWED_TRANSITIONS.values()))
    assert all(f">{state}</text>" in svg for state in ALLOWED_TRANSITIONS)


def test_a_state_without_a_place_and_a_bend_without_an_arrow_are_errors(script: Any) -> None:
    draw = script("draw")
    with pytest.raises(SystemExit, match="no place to draw the states b"):
        draw.states({"a": ["b"], "b": []}, {"a": (0, 0)}, {}, "")
    with pytest.raises(SystemExit, match=r"not in the table: \[\('b', 'a'\)\]"):
        draw.states({"a": ["b"], "b": []}, {"a": (0, 0), "b": (200, 0)}, {("b", "a"): 9}, "")


def test_each_page_is_in_the_navigation(script: Any) -> None:
    build = script("build_docs")
    pages = set(build.pages_of(build.navigation()))
    assert "reference/api/storage.md" in pages
    assert len(pages) > 20


def test_what_is_wrong_in_a_site_is_found(script: Any, tmp_path: Path) -> None:
    good = '<a href="b.html#there">b</a><img src="pic.svg"><a href="https://example.org/">elsewhere</a>'
    (tmp_path / "a.html").write_text(good)
    (tmp_path / "b.html").write_text('<h1 id="there">b</h1>')
    (tmp_path / "pic.svg").write_text("<svg/>")
    problems = script("check_site").problems
    assert problems(tmp_path) == []
    (tmp_path / "b.html").write_text(
        '<a href="nowhere.html">1</a><a href="a.html#gone">2</a><a href="#gone">3</a>'
        '<script src="https://cdn.example.org/x.js"></script><link href="//fonts.example.org/f" rel="stylesheet">'
        '<pre class="mermaid">4</pre><p>::: a.b</p>'
    )
    (tmp_path / "c.css").write_text("@import url(https://fonts.example.org/f);")
    assert sorted(problem.partition(": ")[2] for problem in problems(tmp_path)) == [
        "a style that loads from elsewhere",
        "is left as it is: <p>::: ",
        'is left as it is: class="mermaid"',
        "is loaded from elsewhere: //fonts.example.org/f",
        "is loaded from elsewhere: https://cdn.example.org/x.js",
        "leads to nothing: nowhere.html",
        "there is no such anchor: #gone",
        "there is no such anchor: a.html#gone",
        "there is no such anchor: b.html#there",
    ]
