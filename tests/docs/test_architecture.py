"""The module map and the rule of imports on the architecture page are those of the tree and of import-linter."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")


def parts(folder: Path) -> set[str]:
    """What one may import from a package: ``name.py`` and ``name/``."""
    modules = {path.name for path in folder.glob("*.py")}
    return modules | {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}


def test_the_module_map_is_the_tree() -> None:
    (block,) = re.findall(r"^## Module map\n\n```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    told: dict[str, set[str]] = {}
    folder = ""
    for line in block.splitlines():
        if not line.startswith(" "):
            folder = line
            told[folder] = set()
        else:
            told[folder] |= set(re.findall(r"(?:^|\s)([a-z_]+(?:\.py|/))(?=\s|$)", line))
    assert set(told) == {"investigation_sdk/", "backends/investigation_backends/"}
    for name, names in told.items():
        internal = {"__init__.py"} if name.startswith("backends") else set()
        assert names == parts(ROOT / name) - internal, f"the map of {name} in docs/explanation/architecture.md"


def test_who_may_import_whom_is_what_import_linter_holds() -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = [contract["layers"] for contract in rules["contracts"] if contract["id"] == "layers"]
    wanted = [{name for name in re.split(r"[ |:]+", re.sub(r"\(\w+\)", "", layer)) if name} for layer in layers]
    there = {part.removesuffix(".py").removesuffix("/") for part in parts(ROOT / "investigation_sdk")}
    optional = {name for layer in layers for name in re.findall(r"\((\w+)\)", layer)} & there
    (sentence,) = re.findall(r"### Who may import whom\n\n(.*?)\. Each imports", PAGE, re.DOTALL)
    told = [set(re.findall(r"`(\w+)`", layer)) for layer in sentence.split(">")]
    assert [layer - optional for layer in told if layer - optional] == [layer for layer in wanted if layer]
    assert optional <= set().union(*told)
