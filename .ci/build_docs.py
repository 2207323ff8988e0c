"""Builds the documentation site into build/docs/site, strictly: a warning or a problem in what was built is an error.

Pages of docs/ are copied to build/docs/pages with README's neighbours (CHANGELOG, CONTRIBUTING) and the files that
pages link to; the order of the navigation is that of the links in each folder's index.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import check_site
from check_links import LINK, SCHEME, prose

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
STAGE = ROOT / "build" / "docs"
PAGES = STAGE / "pages"
SITE = STAGE / "site"
PARTS = {
    "How-to": "howto/index.md",
    "Reference": "reference/index.md",
    "Explanation": "explanation/index.md",
}
EMPTY = re.compile(r"\u2013\s*<div class=\"doc-md-description\">\s*</div>")
OUTSIDE = "project"
"""Where files that are linked to, but are not in docs/, go."""


def title(page: Path) -> str:
    """The first heading of a page, as plain text."""
    for _, line in prose(page):
        if line.startswith("# "):
            return re.sub(r"[`*]", "", line[2:]).strip()
    raise SystemExit(f"{page.relative_to(ROOT)} has no title: begin it with '# …'")


def linked(page: Path) -> Iterator[Path]:
    """The pages that a page links to, in order, each once."""
    seen: set[Path] = {page}
    for _, line in prose(page):
        for target in LINK.findall(line):
            goal = (page.parent / target.partition("#")[0]).resolve()
            if goal.suffix == ".md" and goal.is_relative_to(DOCS) and goal not in seen:
                seen.add(goal)
                yield goal


def section(index: Path) -> list[object]:
    """A part of the navigation: an index, then what it links to in its own folder or below."""
    entries: list[object] = [index.relative_to(DOCS).as_posix()]
    for page in linked(index):
        if not page.is_relative_to(index.parent):
            continue
        if page.name == "index.md":
            entries.append({title(page): section(page)})
        elif not any(page in linked(entry) for entry in linked(index) if entry.name == "index.md"):
            entries.append({title(page): page.relative_to(DOCS).as_posix()})
    return entries


def pages_of(entry: object) -> Iterator[str]:
    """All pages of a part of the navigation."""
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        for value in entry.values():
            yield from pages_of(value)
    elif isinstance(entry, list):
        for value in entry:
            yield from pages_of(value)


def toml(entry: object) -> str:
    """A part of the navigation as TOML."""
    if isinstance(entry, dict):
        return "{" + ", ".join(f'"{name}" = {toml(value)}' for name, value in entry.items()) + "}"
    if isinstance(entry, list):
        return "[" + ", ".join(map(toml, entry)) + "]"
    return f'"{entry}"'


def navigation() -> list[object]:
    """The whole navigation; a page that no index links to is an error."""
    nav: list[object] = [{"Home": "index.md"}, {"Tutorial": "tutorial/first-investigation.md"}]
    nav += [{name: section(DOCS / index)} for name, index in PARTS.items()]
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    if lost := there - set(pages_of(nav)) - {"explanation/decisions/template.md"}:
        raise SystemExit(f"no index.md links to: {', '.join(sorted(lost))}")
    return [*nav, {"Changes": f"{OUTSIDE}/CHANGELOG.md"}, {"Contributing": f"{OUTSIDE}/CONTRIBUTING.md"}]


def stage_page(page: Path, staged: Path) -> None:
    """Copy a page; links out of docs/ lead to copies of what they name."""

    def moved(match: re.Match[str]) -> str:
        target, mark, fragment = match[1].partition("#")
        if not target or SCHEME.match(target):
            return match[0]
        goal = (page.parent / target).resolve()
        if goal.is_relative_to(DOCS):
            copy = PAGES / goal.relative_to(DOCS)
        else:
            goal = goal / "README.md" if goal.is_dir() else goal
            copy = stage_outside(goal)
        return match[0].replace(match[1], os.path.relpath(copy, staged.parent) + mark + fragment)

    staged.parent.mkdir(parents=True, exist_ok=True)
    staged.write_text("placeholder", encoding="utf-8")  # pages may link to each other in a circle
    staged.write_text(LINK.sub(moved, page.read_text(encoding="utf-8")), encoding="utf-8")


def stage_outside(path: Path) -> Path:
    """The copy of a file that is not in docs/."""
    copy = PAGES / OUTSIDE / path.relative_to(ROOT)
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            stage_page(path, copy)
        else:
            shutil.copyfile(path, copy)
    return copy


def stage() -> None:
    """Write build/docs: configuration, pages and what they need."""
    shutil.rmtree(STAGE, ignore_errors=True)
    nav = toml(navigation())
    for path in sorted(DOCS.rglob("*")):
        staged = PAGES / path.relative_to(DOCS)
        if path.suffix == ".md":
            stage_page(path, staged)
        elif path.is_file():
            staged.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, staged)
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        stage_outside(ROOT / name)
    parts = Path(__file__).parent / "site"
    shutil.copyfile(parts / "docstring_roles.py", STAGE / "docstring_roles.py")
    shutil.copyfile(parts / "site.css", PAGES / "site.css")
    config = (parts / "zensical.toml").read_text(encoding="utf-8")
    (STAGE / "zensical.toml").write_text(config.replace("[project]\n", f"[project]\nnav = {nav}\n"), encoding="utf-8")


def build() -> int:
    """Run the site generator; whether it found nothing to complain about."""
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=STAGE, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    told = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    if done.returncode or "warning" in told.lower():
        print(told or done.stderr)
        return 1
    return 0


def tidy() -> None:
    """Take away the dashes that introduce an empty description."""
    for page in SITE.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(EMPTY.sub("", text), encoding="utf-8")


def main() -> int:
    """Stage, build, check; 1 if anything is wrong."""
    stage()
    if build():
        return 1
    tidy()
    if check_site.main(SITE):
        return 1
    where = SITE.relative_to(ROOT)
    print(f"The documentation is in {where}: open {(SITE / 'index.html').as_uri()}")
    print(f"With search: python3 -m http.server -d {where}, then http://localhost:8000")
    return 0


if __name__ == "__main__":
    sys.exit(main())
