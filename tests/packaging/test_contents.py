"""What is in the sdist and in the wheel: all that is needed, and nothing else."""

import email
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Set as AbstractSet
from email.message import Message

import pytest

from .conftest import ROOT, Distribution

pytestmark = pytest.mark.packaging

PACKAGES = {"investigation_sdk": ROOT, "investigation_backends": ROOT / "backends"}


def in_wheel(built: Distribution) -> set[str]:
    with zipfile.ZipFile(built.wheel) as archive:
        return set(archive.namelist())


def in_sdist(built: Distribution) -> set[str]:
    with tarfile.open(built.sdist) as archive:
        return {"/".join(member.name.split("/")[1:]) for member in archive.getmembers() if member.isfile()}


def metadata(built: Distribution) -> Message:
    with zipfile.ZipFile(built.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def of_package(name: str) -> set[str]:
    """The files of a package in the working tree, as a wheel has them."""
    parent = PACKAGES[name]
    files = (path for path in (parent / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(parent).as_posix() for path in files}


def test_the_wheel_is_the_two_packages_and_nothing_else(built: Distribution) -> None:
    files = in_wheel(built)
    code = {name for name in files if ".dist-info/" not in name}
    assert code == of_package("investigation_sdk") | of_package("investigation_backends")
    info = {name.partition(".dist-info/")[2] for name in files - code}
    assert info - {"entry_points.txt"} == {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE"}


def test_the_wheel_has_what_no_import_would_miss(built: Distribution) -> None:
    files = in_wheel(built)
    needed = {
        "investigation_sdk/py.typed",
        "investigation_backends/py.typed",
        "investigation_backends/sql/migrations/env.py",
        "investigation_backends/sql/migrations/script.py.mako",
        "investigation_backends/sql/migrations/versions/0001_first_tables.py",
        "investigation_sdk/testing/contract.py",
        "investigation_sdk/testing/_contract/commits.py",
    }
    assert needed - files == set()
    with zipfile.ZipFile(built.wheel) as archive:
        (licence,) = (name for name in files if name.endswith("licenses/LICENSE"))
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()


def tracked() -> AbstractSet[str]:
    """The files that are under version control, or would be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not a clone, so nothing to compare the sdist with: {error}")
    return {name for name in done.stdout.split("\0") if (ROOT / name).is_file()}


def test_the_sdist_is_what_is_under_version_control(built: Distribution) -> None:
    files = in_sdist(built) - {"PKG-INFO"}
    assert files - tracked() == set(), "nobody meant to publish these"
    left_out = {name for name in tracked() - files if not name.startswith(".")}
    assert left_out == set(), "in the repository, and not in the sdist"
    assert {"pyproject.toml", "LICENSE", "Makefile", ".ci/run", "tests/packaging/test_contents.py"} <= files


def test_nothing_of_a_workplace_is_in_either(built: Distribution) -> None:
    folders = {".venv", "__pycache__", ".git", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", "build"}
    for name in in_sdist(built) | in_wheel(built):
        assert not folders & set(name.split("/")), name
        assert not name.endswith((".pyc", ".db", ".db-wal", ".sqlite3", ".log")), name


def test_the_metadata_says_what_it_is(built: Distribution) -> None:
    said = metadata(built)
    assert said["Name"] == "investigation-sdk"
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in (said.get_all("Classifier") or ())
    required = [text for text in said.get_all("Requires-Dist") or () if "extra ==" not in text]
    assert {re.split("[<>]", text)[0] for text in required} == {"alembic", "pydantic", "sqlalchemy"}
    without_bound = [text for text in said.get_all("Requires-Dist") or () if not re.search("[>=]=", text.split(";")[0])]
    assert all(text.startswith("investigation-sdk[") for text in without_bound), without_bound


def test_the_readme_is_the_description(built: Distribution) -> None:
    said = metadata(built)
    assert said["Description-Content-Type"] == "text/markdown"
    payload = said.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_each_extra_that_an_error_names_exists(built: Distribution) -> None:
    from investigation_sdk.storage.registry import BACKENDS

    extras = set(metadata(built).get_all("Provides-Extra") or ())
    named = {entry.extra for entry in BACKENDS.values() if entry.extra is not None}
    assert named - extras == set()
