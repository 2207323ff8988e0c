"""docs/reference/cli.md says what ``--help`` prints."""

import sys
from collections.abc import Callable
from pathlib import Path

from investigation_sdk.cli.app import investigate
from tests.cli.conftest import Done

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ci"))
import generate_cli  # noqa: E402 - a script, not a package

sys.path.pop(0)


def test_the_page_is_up_to_date() -> None:
    page = generate_cli.PAGE.read_text(encoding="utf-8")
    assert generate_cli.generate(page) == page, "run: python .ci/generate_cli.py"


def test_what_is_generated_is_what_is_printed(process: Callable[..., Done]) -> None:
    shown = dict(generate_cli.helps(investigate, "investigate"))
    assert {"investigate", "investigate ls", "investigate db upgrade"} <= set(shown)
    for command, text in shown.items():
        done = process(*command.split()[1:], "--help", COLUMNS="80")
        assert (done.status, done.out) == (0, text + "\n")
