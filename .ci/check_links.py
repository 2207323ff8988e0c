"""Check that relative links in the documentation lead to files that exist, and fragments to headings.

Looks at README.md, CONTRIBUTING.md, CHANGELOG.md and docs/. Links to other sites are not followed.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?(\S+?)>?(?:\s+\"[^\"]*\")?\s*$")
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def pages() -> list[Path]:
    """All pages that are checked."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [page for page in top if page.exists()] + sorted((ROOT / "docs").rglob("*.md"))


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The lines of a page with their numbers, without code."""
    fence = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        mark = FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence):
                fence = ""
        elif mark:
            fence = mark[1]
        else:
            yield number, line


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings answer to."""
    found: set[str] = set()
    for _, line in prose(page):
        if heading := HEADING.match(line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            repeat, name = 0, slug
            while name in found:
                repeat += 1
                name = f"{slug}-{repeat}"
            found.add(name)
    return found


def problem(page: Path, target: str) -> str | None:
    """What is wrong with a link, or None."""
    if SCHEME.match(target) or target.startswith("//"):
        return None
    path, _, fragment = unquote(target).partition("#")
    if path.startswith("/"):
        return "an absolute path: write it relative to the page"
    goal = (page.parent / path).resolve() if path else page
    if not goal.is_relative_to(ROOT):
        return "leads out of the repository"
    if not goal.exists():
        return "leads to nothing"
    if fragment and goal.suffix == ".md" and fragment not in anchors(goal):
        return f"{goal.relative_to(ROOT)} has no heading #{fragment}"
    return None


def main() -> int:
    """Print each broken link; 1 if there is one."""
    checked = broken = 0
    for page in pages():
        for number, line in prose(page):
            text = re.sub(r"`[^`]*`", "", line)
            for target in [*LINK.findall(text), *DEFINITION.findall(text)]:
                checked += 1
                if wrong := problem(page, target):
                    broken += 1
                    print(f"{page.relative_to(ROOT)}:{number}: {target}: {wrong}")
    print(f"{checked} links checked, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
