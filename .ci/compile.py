"""Makes a virtual environment in which the core is compiled, and a folder to run tests and benchmarks from.

Usage: python .ci/compile.py ENVIRONMENT FOLDER

In the folder is everything of the repository but the packages themselves, so that those that are installed are used.
Without a C compiler it says so, and makes nothing.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"investigation_sdk", "backends"}
EXTRAS = "dev,bench"


def _run(*command: str | Path, **more: str) -> None:
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **more})  # noqa: S603 - commands stand here


def compiler() -> str | None:
    """The C compiler that extensions of this Python are built with, where it is there."""
    named = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return shutil.which(shlex.split(str(named))[0])


def main() -> int:
    """Build the wheel, and install it."""
    environment, folder = (Path(argument).absolute() for argument in sys.argv[1:])
    if compiler() is None:
        print("There is no C compiler here (CC names one): the core is not compiled.", file=sys.stderr)
        return 0
    uv = Path(sys.executable).with_name("uv")
    with TemporaryDirectory() as wheels:
        # an sdist first, as whoever installs from one does
        _run(uv, "build", "--quiet", "--out-dir", wheels, ROOT, HATCH_BUILD_HOOKS_ENABLE="1")
        wheel = next(Path(wheels).glob("*.whl"))
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, environment)
        _run(
            uv, "pip", "install", "--quiet", "--python", environment, f"investigation-sdk[{EXTRAS}] @ {wheel.as_uri()}"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for entry in ROOT.iterdir():
        if entry.name not in PACKAGES and (not entry.name.startswith(".") or entry.name == ".ci"):
            (folder / entry.name).symlink_to(entry)
    return 0


if __name__ == "__main__":
    sys.exit(main())
