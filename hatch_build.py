"""Compiles the core with mypyc into the wheel, where that is asked for: see "hooks.custom" in pyproject.toml."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SETUP = """
import sys
from mypyc.build import mypycify
from setuptools import setup

options = {"opt_level": "3", "debug_level": "0", "strip_asserts": False, "group_name": "investigation_sdk"}
setup(
    name="core",
    packages=[],
    py_modules=[],
    ext_modules=mypycify(sys.argv[2:], target_dir="c", **options),
    script_args=["build_ext", "--build-lib", sys.argv[1]],
)
"""


class CompiledCore(BuildHookInterface[Any]):
    """Nothing is written into the source tree: modules beside their source would hide what is edited later."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the modules that the configuration names, and add them to the wheel beside their source."""
        if self.target_name != "wheel" or version == "editable":
            return
        root = Path(self.root)
        self._folder: TemporaryDirectory[str] = TemporaryDirectory()  # until the wheel is written
        folder = Path(self._folder.name)
        built = folder / "built"
        for package in (root / "investigation_sdk", root / "backends" / "investigation_backends"):
            (folder / package.name).symlink_to(package)  # so that paths in tracebacks are relative
        modules = [f"{name.replace('.', '/')}.py" for name in self.config["modules"]]
        for module in modules:
            if not (folder / module).is_file():
                raise FileNotFoundError(f"hooks.custom in pyproject.toml names {module}, which is not there")
        (folder / "setup.py").write_text(_SETUP, encoding="utf-8")
        (folder / "mypy.ini").write_text(
            "[mypy]\nignore_missing_imports = True\n", encoding="utf-8"
        )  # types: make check
        environment = {**os.environ, "MYPYPATH": str(folder)}
        command = [sys.executable, "setup.py", str(built), *modules]
        done = subprocess.run(  # noqa: S603 - what it runs stands here
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the core does not compile:\n{done.stdout[-8000:]}")
        for file in built.rglob("*"):
            if file.is_file():
                build_data["force_include"][str(file)] = str(file.relative_to(built))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()
