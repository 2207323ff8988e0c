"""The distribution as a user gets it: sdist, wheel built from the sdist, installed alone into a new environment."""

import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command, away from what surrounds the tests."""
    around = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONSTARTUP"}}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**around, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def from_registry(*command: str | Path, cwd: Path) -> None:
    """Run a command that gets packages from the registry.

    Where it fails and the registry is not there either, the tests that need it are skipped, but for CI's.
    """
    done = run(*command, cwd=cwd)
    if done.returncode == 0:
        return
    said = f"{done.stdout}\n{done.stderr}"
    if "CI" not in os.environ:
        probe = run(
            sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", cwd / "probe", "iniconfig", cwd=cwd
        )
        if probe.returncode != 0:
            pytest.skip(f"the package registry does not answer: {probe.stderr.strip().splitlines()[-1]}")
    pytest.fail(f"{' '.join(map(str, command))} failed:\n{said[-3000:]}")


class Distribution(NamedTuple):
    """What was built."""

    sdist: Path
    source: Path
    """Where the sdist is unpacked."""
    wheel: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    folder = tmp_path_factory.mktemp("dist")
    from_registry(sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT, cwd=folder)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    from_registry(sys.executable, "-m", "build", "--wheel", "--outdir", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return Distribution(sdist, source, wheel)


@pytest.fixture(scope="session")
def clean(built: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel and what it requires, without extras: its folder of programs."""
    return environment(tmp_path_factory.mktemp("environment"), str(built.wheel))


DEVELOPERS = {"test", "dev", "docs", "bench", "frameworks"}
"""The extras that are not for users."""


@pytest.fixture(scope="session")
def complete(built: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with all extras for users: its folder of programs."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"].keys() - DEVELOPERS
    return environment(tmp_path_factory.mktemp("complete"), f"{built.wheel}[{','.join(sorted(extras))}]", "pytest")


def environment(folder: Path, *packages: str) -> Path:
    """A new environment with these packages: its folder of programs."""
    made = run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    assert made.returncode == 0, made.stderr
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    from_registry(programs / "python", "-m", "pip", "install", "-q", *packages, cwd=folder)
    return programs
