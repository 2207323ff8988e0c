"""Pages that show commands: each is run, in order, and prints what the page says."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs import console

NO_RUN = re.compile(r"<!--\s*no-run:\s*\S.*-->\n+$")


@pytest.mark.parametrize("page", console.pages(), ids=lambda page: page.relative_to(console.ROOT).as_posix())
def test_commands_print_what_the_page_says(page: Path, tmp_path: Path) -> None:
    for command, printed in console.play(page, tmp_path):
        if not console.same(printed, command.told):
            assert "\n".join(console.compared(printed)) == "\n".join(console.compared(command.told)), (
                f"{page.name}:{command.line + 1}: $ {command.text}\n"
                "if it is right as it is now: .venv/bin/python -m tests.docs.console"
            )
            pytest.fail(f"{page.name}:{command.line + 1}: $ {command.text}: shortened otherwise\n" + "\n".join(printed))


def test_each_script_of_a_page_with_commands_is_run() -> None:
    for page in console.pages():
        waiting: dict[str, int] = {}
        for block in console.blocks(page.read_text(encoding="utf-8").splitlines()):
            if block.title is not None and block.title.endswith(".py"):
                waiting[block.title] = block.line
            elif block.language == "console":
                told = " ".join(command.text for command in console.commands(block))
                waiting = {name: line for name, line in waiting.items() if name not in told}
        assert not waiting, f"{page.relative_to(console.ROOT)}: written and never run: {waiting}"


def test_a_command_that_is_not_run_says_why() -> None:
    pages = [console.ROOT / "README.md", *sorted((console.ROOT / "docs").rglob("*.md"))]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for block in re.finditer(r"^ *```(sh|bash|shell|zsh)\b", text, re.MULTILINE):
            line = text.count("\n", 0, block.start()) + 1
            assert NO_RUN.search(text[: block.start()]), (
                f"{page.relative_to(console.ROOT)}:{line}: make it a console block, which is run, "
                "or say above it why it is not: <!-- no-run: why -->"
            )


@pytest.mark.packaging
def test_installing_as_the_pages_say(tmp_path: Path) -> None:
    if subprocess.run(["git", "-C", console.ROOT, "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        pytest.skip("this is no clone of the repository, so it cannot be cloned")
    page = (console.ROOT / "docs" / "tutorial" / "first-investigation.md").read_text(encoding="utf-8")
    (install,) = re.findall(r"^```sh\n(git clone .*?)^```$", page, re.MULTILINE | re.DOTALL)
    script = install.replace("<address of the repository>", str(console.ROOT)) + "investigate --version\n"
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=570, check=False
    )
    if done.returncode and re.search("No matching distribution|Connection|Could not fetch", done.stderr):
        pytest.skip(f"the package registry does not answer: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^investigate \d+\.\d+", done.stdout, re.MULTILINE)


def test_what_differs_from_run_to_run_is_not_compared() -> None:
    told = [
        "ID             TOOK  WHAT",
        "01a21250-6329  82ms  lines=['login alice 10…",
        "2026-11-25 10:46:27 UTC, 3s ago",
    ]
    printed = [
        "ID             TOOK  WHAT",
        "01a4ffff-0000  1.2s  lines=['login alice 10.0.…",
        "2027-01-02 00:00:00 UTC, 2m ago",
    ]
    assert console.same(printed, told)
    assert not console.same([printed[0], printed[1].replace("alice", "bob"), printed[2]], told)
    assert not console.same(printed[:2], told)
    assert not console.same([*printed[:2], "yesterday"], told)


def test_blocks_and_commands() -> None:
    page = ['```python title="a.py"', "a", "```", "", "```console", "$ one", "1", "", "2", "$ two", "```"]
    page += ["<!-- no-run: why -->", "", "```console", "$ three", "```"]
    first, second = console.blocks(page)
    assert (first.title, first.text) == ("a.py", ["a"])
    assert console.commands(second) == [(5, "one", ["1", "", "2"]), (9, "two", [])]
    with pytest.raises(ValueError, match="line 2: a console block begins with"):
        console.commands(console.Block(1, "console", None, ["1"]))
