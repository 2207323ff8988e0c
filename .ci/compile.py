"""Makes a virtual environment in which the core is compiled, and in it a folder to run tests and benchmarks from.

Usage: python .ci/compile.py ENVIRONMENT

In ENVIRONMENT/from is everything of the repository but the packages themselves, so that those that are installed are
used. What is there already, made of the same files, is left as it is. Where C does not compile, it says so, and nothing
is there.
"""

from __future__ import annotations

import hashlib
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


def compiles() -> bool:
    """Whether extensions of this Python can be compiled: there is a C compiler that works, and Python's headers."""
    named = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    with TemporaryDirectory() as folder:
        source = Path(folder, "empty.c")
        source.write_text("#include <Python.h>\n", encoding="utf-8")
        command = [
            *shlex.split(str(named)),
            f"-I{sysconfig.get_path('include')}",
            "-c",
            str(source),
            "-o",
            f"{source}.o",
        ]
        try:
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - what CC names
        except (OSError, subprocess.CalledProcessError):
            return False
        return Path(f"{source}.o").exists()


def made_of() -> str:
    """What the compiled core would be made of, as one hash."""
    digest = hashlib.sha256(sys.version.encode())
    files = [ROOT / "pyproject.toml", ROOT / "hatch_build.py", Path(__file__)]
    for package in sorted(PACKAGES):
        files += (file for file in sorted((ROOT / package).rglob("*")) if file.is_file() and file.suffix != ".pyc")
    for file in files:
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def main() -> int:
    """Build the wheel, and install it."""
    environment = Path(sys.argv[1]).absolute()
    stamp, folder = environment / ".made-of", environment / "from"
    if not compiles():
        shutil.rmtree(environment, ignore_errors=True)
        print("No C compiler that works, or no Python.h (CC names the compiler): the core is not compiled.")
        return 0
    wanted = made_of()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
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
    folder.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in PACKAGES and (not entry.name.startswith(".") or entry.name == ".ci"):
            (folder / entry.name).symlink_to(entry)
    stamp.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
