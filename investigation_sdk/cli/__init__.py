"""The command ``investigate``: look at what ran, check logs, upgrade stores. Installed by the extra ``cli``."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import NoReturn

_NEEDED = ("click", "rich")


def main() -> NoReturn:
    """Run the command, and end the process with its exit status."""
    if any(find_spec(name) is None for name in _NEEDED):
        print("investigate is not installed yet; run: pip install 'investigation-sdk[cli]'", file=sys.stderr)
        sys.exit(2)
    try:
        from investigation_sdk.cli.app import run

        sys.exit(run())
    except KeyboardInterrupt:
        sys.exit(130)
