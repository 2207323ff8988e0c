"""The reference is complete and names nothing that is not there."""

import importlib
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import investigation_sdk
from investigation_sdk import testing
from investigation_sdk.storage import commit, registry
from investigation_sdk.testing import contract, servers

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
PACKAGES = (ROOT / "investigation_sdk", ROOT / "backends" / "investigation_backends")


def named() -> Iterator[str]:
    """What the pages of the reference are made from."""
    for page in sorted(REFERENCE.rglob("*.md")):
        yield from re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def resolve(name: str) -> object:
    """The object of a dotted name."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


def test_each_public_name_is_on_one_page() -> None:
    pages = Counter(named())
    assert [name for name, times in pages.items() if times > 1] == []
    public = {f"investigation_sdk.{name}" for name in investigation_sdk.__all__}
    public |= {f"investigation_sdk.testing.{name}" for name in testing.__all__}
    public |= {f"investigation_sdk.testing.contract.{name}" for name in contract.__all__}
    public |= {f"investigation_sdk.testing.servers.{name}" for name in servers.__all__}
    public |= {f"investigation_sdk.storage.commit.{name}" for name in commit.__all__}
    assert public - set(pages) == set(), "add '::: name' to the page in docs/reference/ where one would look for it"


def test_each_name_on_a_page_exists_and_is_described() -> None:
    for name in named():
        found = resolve(name)
        if inspect.isclass(found) or inspect.isroutine(found):
            assert inspect.getdoc(found), f"{name} has no docstring"


def test_environment_variables_are_those_of_the_code() -> None:
    page = (REFERENCE / "stores.md").read_text(encoding="utf-8")
    sources = [path.read_text(encoding="utf-8") for package in PACKAGES for path in package.rglob("*.py")]
    read = {name for source in sources for name in re.findall(r"[\"'](INVESTIGATION_[A-Z_]+)[\"']", source)}
    assert set(re.findall(r"^\| `(INVESTIGATION_[A-Z_]+)` \|", page, re.MULTILINE)) == read


def test_options_of_stores_are_those_of_the_code() -> None:
    page = (REFERENCE / "stores.md").read_text(encoding="utf-8")
    of = {"SQLite": "sqlite", "memory": "memory", "PostgreSQL": "postgresql", "MongoDB": "mongodb"}
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", page, re.MULTILINE)
    told = {(of[store], option) for option, stores in rows for store in stores.split(", ")}
    taken: set[tuple[str, str]] = set()
    for scheme in set(of.values()) & set(registry.BACKENDS):
        make = registry._load(scheme, registry.BACKENDS[scheme]).from_url
        taken |= {(scheme, p.name) for p in inspect.signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert told == taken
