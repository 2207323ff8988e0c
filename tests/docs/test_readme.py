"""Every Python block in README.md and docs/ runs as it stands: in a fresh interpreter, in an empty directory.

A block with a title, on a page that has commands, is a file of that page: test_console.py runs it, and not alone.

A block that cannot (it needs a server, a framework) says why, in a comment of its own above it:
``<!-- no-run: why -->``. Such a block must still be Python.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs import console

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
OPENING = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})\s*(?P<info>\S*)(?: title=\"(?P<title>[^\"]+)\")?")
NO_RUN = re.compile(r"^\s*<!--\s*no-run:\s*(?P<reason>.*?\S)\s*-->\s*$")


class Block(NamedTuple):
    """One block of Python."""

    place: str
    code: str
    no_run: str | None
    title: str | None = None


def blocks(text: str, place: str) -> Iterator[Block]:
    """The Python blocks of a page; `place` is its name."""
    lines = iter(enumerate(text.splitlines(), 1))
    comment: str | None = None
    for number, line in lines:
        opening = OPENING.match(line)
        if opening is None:
            if line.strip():
                said = NO_RUN.match(line)
                comment = said["reason"] if said else None
            continue
        indent, fence, code = opening["indent"], opening["fence"], []
        for _, inner in lines:
            if inner.strip().startswith(fence) and not inner.strip().strip(fence[0]):
                break
            code.append(inner.removeprefix(indent))
        else:
            raise ValueError(f"{place}:{number}: a block that is never closed")
        if opening["info"] in {"python", "py", "python3"}:
            yield Block(f"{place}:{number}", "\n".join(code) + "\n", comment, opening["title"])
        comment = None


def documented() -> list[Block]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        block
        for page in pages
        for block in blocks(page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix())
        if not (block.title and page in console.pages())
    ]


BLOCKS = documented()


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in BLOCKS])
def test_block(block: Block, tmp_path: Path) -> None:
    compile(block.code, block.place, "exec", dont_inherit=True)
    if block.no_run is not None:
        pytest.skip(f"{block.place} is not run: {block.no_run}")
    script = tmp_path / "block.py"
    script.write_text(block.code, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVESTIGATION_")}
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode and "ServerMissing: " in done.stderr:
        pytest.skip(f"{block.place} is not run: {done.stderr.rpartition('ServerMissing: ')[2].strip()}")
    assert done.returncode == 0, f"{block.place} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"


def test_readme_has_an_example_that_runs() -> None:
    alone = any(block.place.startswith("README.md:") and block.no_run is None for block in BLOCKS)
    assert alone or ROOT / "README.md" in console.pages()


def test_what_counts_as_a_block() -> None:
    page = """
```python
a = 1

b = 2
```
<!-- no-run: needs a server -->

```python
c = 3
```
<!-- no-run: too early -->
Some text in between.
- a list
  ```py
  if a:
      pass
  ```
```sh
echo "```python"
```
````markdown
```python
not_a_block
```
````
"""
    found = list(blocks(page, "page.md"))
    assert [block.place for block in found] == ["page.md:2", "page.md:9", "page.md:15"]
    assert [block.code for block in found] == ["a = 1\n\nb = 2\n", "c = 3\n", "if a:\n    pass\n"]
    assert [block.no_run for block in found] == [None, "needs a server", None]


def test_a_block_that_is_never_closed_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"page\.md:1: a block that is never closed"):
        list(blocks("```python\na = 1\n", "page.md"))
