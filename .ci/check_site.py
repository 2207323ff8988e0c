"""Checks the built site: links and anchors lead somewhere, nothing is loaded from elsewhere, nothing is left raw.

Usage: check_site.py FOLDER
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
"""What a browser fetches without being asked. (A link that a reader may follow is another matter.)"""
RAW = ("<autoref", ":class:<code>", ":func:<code>", ":meth:<code>", ":mod:<code>", 'class="mermaid"', "<p>::: ")
STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//")


class Page(HTMLParser):
    """The anchors, links and loaded files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag names."""
        values = dict(attrs)
        self.anchors.update(value for name in ("id", "name") if (value := values.get(name)))
        if tag == "a" and (href := values.get("href")):
            self.links.append(href)
        if loaded := values.get(LOADS.get(tag, "")):
            if values.get("rel") not in ("canonical", "next", "prev"):
                self.loads.append(loaded)
            self.links.append(loaded)


def foreign(url: str) -> bool:
    """It is on another host."""
    return bool(urlsplit(url).netloc)


def problems(folder: Path) -> list[str]:
    """All that is wrong, one line each."""
    texts = {path.resolve(): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    pages = {path: Page(text) for path, text in texts.items()}
    found: list[str] = []
    for path, page in pages.items():
        place = path.relative_to(folder.resolve())
        found += [f"{place}: is loaded from elsewhere: {url}" for url in page.loads if foreign(url)]
        found += [f"{place}: is left as it is: {raw}" for raw in RAW if raw in texts[path]]
        if place.name == "404.html":  # its links are absolute, for wherever it is served from
            continue
        for url in page.links:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not goal.exists():
                found.append(f"{place}: leads to nothing: {url}")
            elif parts.fragment and goal in pages and unquote(parts.fragment) not in pages[goal].anchors:
                found.append(f"{place}: there is no such anchor: {url}")
    for path in folder.rglob("*.css"):
        if STYLE.search(path.read_text(encoding="utf-8")):
            found.append(f"{path.relative_to(folder)}: a style that loads from elsewhere")
    return found


def main(folder: Path) -> int:
    """Print each problem; 1 if there is one."""
    found = problems(folder)
    for problem in sorted(set(found)):
        print(problem)
    pages = len(list(folder.rglob("*.html")))
    print(f"{pages} pages checked, {len(found)} problems")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
