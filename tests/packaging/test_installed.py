"""The wheel, installed alone without extras: it imports, loads little, runs, and is typed as a whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Distribution, run

pytestmark = pytest.mark.packaging


def python(clean: Path, code: str, cwd: Path, *arguments: str) -> str:
    """What a program prints in the clean environment."""
    done = run(clean / "python", "-W", "error", "-c", code, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_environment_has_what_is_required_and_no_more(clean: Path, tmp_path: Path) -> None:
    listed = json.loads(run(clean / "python", "-m", "pip", "list", "--format=json", cwd=tmp_path).stdout)
    names = {item["name"].lower().replace("_", "-") for item in listed}
    assert {"investigation-sdk", "pydantic", "sqlalchemy", "alembic"} <= names
    assert names & {"pytest", "hypothesis", "asyncpg", "motor", "pymongo", "fastapi", "opentelemetry-api"} == set()
    checked = run(clean / "python", "-m", "pip", "check", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


PUBLIC = """
import sys
before = set(sys.modules)
import investigation_sdk, investigation_sdk.testing
for module in (investigation_sdk, investigation_sdk.testing):
    for name in module.__all__:
        assert getattr(module, name) is not None, name
        assert name in dir(module), name
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(tops - sys.stdlib_module_names))
print(*sorted(tops & {"sqlite3", "http", "wsgiref", "xmlrpc"}))
print(investigation_sdk.__file__)
"""


def test_every_public_name_is_there_and_loads_no_driver_or_framework(clean: Path, tmp_path: Path) -> None:
    loaded, heavy, where = python(clean, PUBLIC, tmp_path).splitlines()
    expected = {"annotated_types", "investigation_sdk", "pydantic", "pydantic_core", "typing_extensions"}
    foreign = {name for name in loaded.split() if not name.startswith("_sysconfigdata")}
    assert foreign - expected <= {"typing_inspection"}
    assert heavy == ""
    assert Path(where).is_relative_to(clean.parent)


IMPORTS = """
import importlib, sys
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.storage.registry import BACKENDS, create_backend
for scheme, entry in BACKENDS.items():
    if entry.extra is None:
        module, _, name = entry.target.partition(":")
        assert getattr(importlib.import_module(module), name), entry
        continue
    try:
        create_backend(f"{scheme}://host/name")
    except ConfigurationError as error:
        assert f"investigation-sdk[{entry.extra}]" in str(error), error
    else:
        raise AssertionError(f"{scheme} needs no driver?")
print(*sorted(BACKENDS))
"""


def test_backends_import_or_say_which_extra_they_need(clean: Path, tmp_path: Path) -> None:
    schemes = python(clean, IMPORTS, tmp_path).split()
    assert {"memory", "sqlite"} <= set(schemes)


def test_an_example_of_the_sdist_runs_on_a_file(clean: Path, built: Distribution, tmp_path: Path) -> None:
    example = built.source / "examples" / "python_environment_audit.py"
    done = run(clean / "python", "-W", "error", example, "--db", f"sqlite:///{tmp_path}/audit.db", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    counted = python(clean, COUNT, tmp_path, f"sqlite:///{tmp_path}/audit.db")
    status, calls, ok = counted.split()
    assert (status, ok) == ("completed", "True")
    assert int(calls) > 5


COUNT = """
import sys
from investigation_sdk import InvestigationSDK
with InvestigationSDK(sys.argv[1]) as sdk:
    (record,) = sdk.sync.list()
    print(record.status.value, len(sdk.sync.tools(record.id)), sdk.sync.verify(record.id).ok)
"""

PROGRAM = """
from investigation_sdk import InvestigationSDK, tool

@tool
def look(at: str) -> str:
    return at.upper()

with InvestigationSDK("sqlite:///cases.db") as sdk:
    with sdk.investigation("beside other packages") as investigation:
        with investigation.phase("looking"):
            look("here")
    print(sdk.sync.tools(investigation.id)[0].output_result)
"""


@pytest.mark.parametrize("name", ["backends", "tests", "migrations"])
def test_an_application_may_have_packages_of_such_names(clean: Path, tmp_path: Path, name: str) -> None:
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text(f"raise SystemExit('another {name}')", encoding="utf-8")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = run(clean / "python", "-W", "error", "program.py", cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("HERE\n", 0), done.stderr
    assert python(clean, PROGRAM, tmp_path) == "HERE\n"


@pytest.mark.parametrize("package", ["investigation_sdk", "investigation_backends"])
def test_every_type_is_known_to_who_uses_it(complete: Path, tmp_path: Path, package: str) -> None:
    """``pyright --verifytypes``: of the names that do not begin with an underscore, 100 %.

    An attribute needs its annotation where it is assigned first, ``self.name: str = name``, or other checkers may
    infer another type.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--verifytypes", package, "--ignoreexternal", "--outputjson"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{complete}{os.pathsep}{os.environ['PATH']}",
            "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    found = json.loads(done.stdout)["typeCompleteness"]
    unknown = [
        f"{symbol['name']}: {problem['message']}"
        for symbol in found["symbols"]
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
        for problem in symbol["diagnostics"]
    ]
    assert unknown == []
    assert found["completenessScore"] == 1
    assert found["exportedSymbolCounts"]["withKnownType"] > 50
