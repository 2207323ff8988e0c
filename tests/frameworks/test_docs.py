"""The blocks of the guide run as they stand, where the frameworks are installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_readme import BLOCKS, Block

for name in ("agents", "fastmcp", "langchain", "pydantic_ai"):
    pytest.importorskip(name, reason=f"{name} is not installed: run make test-frameworks")

GUIDE = [block for block in BLOCKS if "make test-frameworks runs it" in (block.no_run or "")]


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in GUIDE])
def test_block(block: Block, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(block.code, encoding="utf-8")
    command = [sys.executable, "-W", "error", "block.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{block.place}\n{done.stdout}\n{done.stderr}"


def test_all_four_are_there() -> None:
    assert len(GUIDE) >= 4
