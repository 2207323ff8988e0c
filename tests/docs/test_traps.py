"""The page of traps names tests: each of them exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "traps.md"
NAMED = re.findall(r"`([\w./]+)::(\w+)`", PAGE.read_text(encoding="utf-8"))


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0] not in ("what goes wrong", "---")]


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)), ids=lambda part: part.rpartition("/")[2])
def test_each_test_that_a_trap_names_exists(file: str, name: str) -> None:
    folder = ROOT / "investigation_sdk" / "testing" / "_contract"
    files = sorted(folder.glob("*.py")) if file == "contract" else [ROOT / file]
    assert any(re.search(rf"def {name}\(", path.read_text(encoding="utf-8")) for path in files), f"{file}::{name}"


def test_each_trap_names_a_test_or_says_what_it_waits_for() -> None:
    found = rows()
    assert len(found) > 40
    for trap, answer, shown in found:
        assert trap
        assert answer
        assert "::" in shown or "not yet: " in shown, trap
