"""Real work for :mod:`tests.benchmarks.eta`: each kind is one type of investigation, and no two runs are alike."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from investigation_sdk import InvestigationSDK, PhasePlan, tool

ROOT: Final = Path(__file__).resolve().parents[2]
DATA: Final = Path(os.environ.get("INVESTIGATION_TEST_DATA") or ROOT.parent / "shared" / "data")
LOG: Final = DATA / "openssh_2k.log"
FOLDERS: Final = ("vectors", "golden", "domain")
_LIMIT: Final = 500
"""Seconds that one call may take."""


def audit(url: str, folder: Path, chance: random.Random) -> None:
    """Audit a set of packages."""
    _some_packages(folder / "site-packages", chance)
    _example("python_environment_audit.py", "--environment", str(folder / "site-packages"), "--db", url)


def audits(url: str, folder: Path, chance: random.Random) -> None:
    """Audit 2 to 6 sets of packages at once."""
    for n in range(chance.randint(2, 6)):
        _some_packages(folder / "lib" / f"python{n}" / "site-packages", chance)
    _example("python_environment_audit.py", "--environment", str(folder), "--db", url)


def _some_packages(target: Path, chance: random.Random) -> None:
    """A folder with at least a third of the packages that are installed here."""
    target.mkdir(parents=True)
    site = next((Path(sys.prefix) / "lib").glob("python*/site-packages"))
    installed = sorted(path for path in site.glob("*.dist-info"))
    for info in chance.sample(installed, chance.randint(len(installed) // 3, len(installed))):
        for name in {line.split("/")[0] for line in (info / "RECORD").read_text("utf-8").splitlines()}:
            if not (target / name).exists() and (site / name).is_dir():
                (target / name).symlink_to(site / name)


def sshd(url: str, folder: Path, chance: random.Random) -> None:
    """Investigate a log that is made of 300 to 1,200 slices of a real one."""
    lines = LOG.read_text("utf-8", errors="surrogateescape").splitlines(keepends=True)
    path = folder / "sshd.log"
    with path.open("w", encoding="utf-8", errors="surrogateescape") as file:
        for _ in range(chance.randint(300, 1200)):
            begin = chance.randrange(len(lines))
            file.writelines(lines[begin : begin + chance.randint(100, 2000)])
    _example("ssh_bruteforce.py", str(path), "--db", url)


@tool(name="pytest")
def _pytest(*arguments: str) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=_LIMIT).returncode


def tests(url: str, folder: Path, chance: random.Random) -> None:
    """Run the project's own tests, file by file: a phase for each of some folders."""
    plan = [PhasePlan(name, tools=(_pytest,)) for name in FOLDERS]
    with (
        InvestigationSDK(url, auto_migrate=True) as sdk,
        sdk.investigation("the project's tests", investigation_type="tests", phases=plan) as investigation,
    ):
        for name in FOLDERS:
            files = sorted((ROOT / "tests" / name).glob("test_*.py"))
            with investigation.phase(name) as phase:
                for n, file in enumerate(files, 1):
                    _pytest(str(file))
                    phase.progress(n / len(files))


def part(url: str, folder: Path, chance: random.Random) -> None:
    """Run those of the project's own tests whose names begin with some letters, other ones in each folder, which
    nobody was told: a call for each folder."""
    plan = [PhasePlan(name, tools=(_pytest,)) for name in FOLDERS]
    with (
        InvestigationSDK(url, auto_migrate=True) as sdk,
        sdk.investigation("some of the tests", investigation_type="part", phases=plan) as investigation,
    ):
        for name in FOLDERS:
            wanted = " or ".join(f"test_{letter}" for letter in chance.sample("abcdefghijklmnoprstuw", 12))
            with investigation.phase(name):
                _pytest(f"tests/{name}", "-k", wanted)


def _example(name: str, *arguments: str) -> None:
    """Run one of the examples; what it finds is of no concern here."""
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")


WORKS: Final[dict[str, Callable[[str, Path, random.Random], None]]] = {
    "audit": audit,
    "audits": audits,
    "sshd": sshd,
    "tests": tests,
    "part": part,
}
