"""Audit a Python environment: is every installed file the one that was installed, and what runs by itself?

    python examples/python_environment_audit.py                              # the environment that this runs in
    python examples/python_environment_audit.py --environment ~/app/.venv    # another: a venv or a site-packages
    python examples/python_environment_audit.py --db sqlite:///audits.db --key release-7

The audit is an investigation: functions under `@tool` look (plain, async, and generators of both kinds), phases give
them order, and what each was asked and answered is kept in a database. With `--key`, an audit that is finished is not
run again: its recorded result is shown. Exit status: 0 clean, 1 tampering found, 2 it could not be done.

What it can know: installers note the hash of each file in RECORD, so a file that was changed or removed later is
found. (Linux distributions that patch what they package are found, too.) Whoever rewrites RECORD as well escapes; so
the hash of each RECORD is kept here, and two audits can be compared. Files without a hash in RECORD, which is what
compiled `.pyc` files are, cannot be checked.
"""

import asyncio
import base64
import csv
import hashlib
import io
import json
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from _shared import Parser, print_chain, print_phases, show, shown
from investigation_sdk import InvestigationError, InvestigationSDK, PhasePlan, agent, tool

SEVERITIES = ("critical", "warning", "info")  # critical: what was installed has been changed
LISTED = 16_000  # characters of findings that one report lists; more are only counted

Finding = dict[str, str]  # severity, kind, path, detail
Report = dict[str, Any]  # counts (by severity), findings (as many as fit), and facts
Claims = Mapping[str, set[str]]  # file -> its hashes in all RECORDs that name it


def finding(severity: str, kind: str, path: str | Path, detail: str) -> Finding:
    """One thing to know, about one path."""
    return {"severity": severity, "kind": kind, "path": shown(path), "detail": shown(detail)}


def report(findings: Iterable[Finding], **facts: Any) -> Report:
    """Count all findings and list the worst, so that what is recorded stays small whatever is found."""
    ordered = sorted(findings, key=lambda found: (SEVERITIES.index(found["severity"]), found["path"]))
    listed, size = [], 0
    for found in ordered:
        if size + (length := len(json.dumps(found))) <= LISTED:
            listed.append(found)
            size += length
    counts = Counter(found["severity"] for found in ordered)
    return {**facts, "counts": dict(counts), "findings": listed}


def metadata_of(site: Path) -> list[Path]:
    """The metadata folder of each distribution in one site-packages, or for an egg the egg itself."""
    return sorted(path for kind in ("*.dist-info", "*.egg-info", "*.egg") for path in site.glob(kind))


def read(path: Path) -> str:
    """The text of a file that may be absent, closed to us, or not UTF-8."""
    try:
        return path.read_text("utf-8-sig", errors="surrogateescape")
    except OSError:
        return ""


def read_record(metadata: Path) -> dict[str, str]:
    """RECORD as {file: "sha256=..."}. Not `Distribution.files`: since Python 3.12 it leaves out missing files."""
    try:
        lines = csv.reader(io.StringIO(read(metadata / "RECORD"), newline=""))
        rows = [[*row, ""] for row in lines if row and row[0]]
    except csv.Error:
        return {}
    return {os.path.normpath(metadata.parent / row[0]): row[1].rstrip("=") for row in rows}


def hash_file(path: Path, algorithm: str) -> tuple[str, str]:
    """The hash as RECORD writes it, in base64 without padding; and in hexadecimal, as some Debian packages do."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).digest()
    return f"{algorithm}={base64.urlsafe_b64encode(digest).decode().rstrip('=')}", f"{algorithm}={digest.hex()}"


def check_file(path: Path, expected: str, site: Path, claims: Claims) -> Finding | None:
    """What is wrong with one file of RECORD, if anything."""
    try:
        if path.exists() and not path.is_file():
            return finding("critical", "replaced", path, "is not an ordinary file any more")
        actual = hash_file(path, expected.partition("=")[0])
    except (FileNotFoundError, NotADirectoryError):
        if path.is_relative_to(site):
            return finding("critical", "missing", path, "is in RECORD, but not on disk")
        return finding("warning", "missing", path, "is not on disk; a copy of site-packages leaves its scripts behind")
    except (OSError, TypeError, ValueError) as error:  # not permitted, or a hash that Python does not know
        return finding("warning", "unchecked", path, f"cannot be checked: {error}")
    if expected in actual:
        return None
    if not claims.get(str(path), set()).isdisjoint(actual):
        return finding("warning", "overwritten", path, "is the file of another distribution that has the same one")
    return finding("critical", "modified", path, f"has {actual[0]}, RECORD says {expected}")


# ---- Tools: what is looked at. Called outside an investigation, they are ordinary functions. ----


@tool(effect="read")
def installed(site: str) -> Iterator[dict[str, str]]:
    """Inventory: the distributions in one site-packages folder."""
    for metadata in metadata_of(Path(site)):
        name, _, version = shown(metadata.stem).partition("-")
        try:
            record, _ = hash_file(metadata / "RECORD", "sha256")
        except OSError:
            record = ""
        yield {"name": name, "version": version, "metadata": str(metadata), "record": record}


@tool(effect="read", ignore=["claims"], summary=lambda checked: f"{checked['verified']} files verified")
def check_files(metadata: str, claims: Claims) -> Report:
    """Integrity: hash each file of one distribution and compare it with RECORD."""
    folder = Path(metadata)
    hashes = [(Path(path), expected) for path, expected in read_record(folder).items() if expected]
    if not hashes:
        return report([finding("warning", "unchecked", folder, "has no RECORD to compare its files with")], verified=0)
    found = [check_file(path, expected, folder.parent, claims) for path, expected in hashes]
    return report([problem for problem in found if problem], verified=found.count(None))


@tool(effect="read", ignore=["claims"])
async def orphans(site: str, claims: Claims) -> AsyncIterator[Finding]:
    """Integrity: the files that are in no RECORD, as one finding for each entry of site-packages."""

    def unclaimed(entry: Path) -> list[str]:
        files = [Path(folder, name) for folder, _, names in os.walk(entry) for name in names] or [entry]
        return [str(file) for file in files if str(file) not in claims and not file.match("__pycache__/*.pyc")]

    for entry in await asyncio.to_thread(lambda: sorted(Path(site).iterdir())):
        if files := await asyncio.to_thread(unclaimed, entry):
            yield finding("info", "orphan", files[0], f"is in no RECORD ({len(files)} such in {entry.name})")


@tool(effect="read")
async def provenance(metadata: str) -> Report:
    """Provenance: who installed one distribution, and from where if not from an index."""
    path = Path(metadata, "direct_url.json")
    installer, direct_url = await asyncio.to_thread(lambda: (read(path.with_name("INSTALLER")), read(path)))
    problems = []
    try:
        if direct_url:
            origin = json.loads(direct_url)
            url = re.sub(r"//[^/@]*@", "//", origin["url"])  # a password in it is not ours to record
            editable = origin.get("dir_info", {}).get("editable", False)
            what = "is editable, its code is not in RECORD: from" if editable else "did not come from an index: from"
            problems.append(finding("warning" if url.startswith("http:") else "info", "origin", path, f"{what} {url}"))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        problems.append(finding("warning", "origin", path, "is not what PEP 610 describes"))
    return report(problems, installer=shown(installer.strip()) or "unknown")


@tool(effect="read", ignore=["claims"])
def startup_code(site: str, claims: Claims) -> Iterator[Finding]:
    """Exposure: code that runs whenever Python starts, from `.pth` files and `sitecustomize.py`."""
    for path in sorted([*Path(site).glob("*.pth"), *Path(site).glob("*customize.py")]):
        severity, owner = ("info", "in a RECORD") if str(path) in claims else ("warning", "in no RECORD")
        if path.name in ("sitecustomize.py", "usercustomize.py"):
            yield finding(severity, "startup", path, f"({owner}) runs whenever Python starts")
        for number, line in enumerate(read(path).splitlines() if path.suffix == ".pth" else [], 1):
            if line.startswith(("import ", "import\t")):  # the rule of Python's own site.py
                yield finding(severity, "startup", path, f"({owner}) line {number} runs: {line:.80}")


@tool(effect="read")
def entry_points(site: str) -> Report:
    """Exposure: the commands and plugins that distributions register."""
    groups, problems = Counter[str](), []
    for metadata in metadata_of(Path(site)):
        try:
            groups.update(shown(point.group) for point in Distribution.at(metadata).entry_points)
        except (OSError, TypeError, ValueError) as error:
            problems.append(finding("warning", "commands", metadata / "entry_points.txt", f"is not valid: {error}"))
    return report(problems, commands=groups["console_scripts"], groups=dict(groups.most_common(50)))


@tool(effect="read")
def judge(counts: dict[str, int]) -> str:
    """Verdict: only a modified, replaced or missing file is taken for tampering."""
    return "suspicious" if counts["critical"] else "clean"


# ---- The investigation: in which order, and what at the same time ----


async def audit(sdk: InvestigationSDK, name: str, sites: Sequence[str], key: str | None) -> str:
    """Run the investigation; returns its id."""
    plan = [
        PhasePlan("inventory", tools=[installed]),
        PhasePlan("integrity", weight=8, tools=[check_files, orphans]),
        PhasePlan("provenance", tools=[provenance]),
        PhasePlan("exposure", tools=[startup_code, entry_points]),
        PhasePlan("verdict", tools=[judge]),
    ]
    subject, its_type = f"Python environment {shown(name)}", "environment_audit"
    async with sdk.investigation(subject, investigation_type=its_type, key=key, phases=plan) as inv, agent("auditor"):
        if inv.finished:
            show("This audit was finished before; what follows is its record.", end=True)
            return inv.id
        reports: list[Report] = []

        async with inv.phase("inventory", input_data={"sites": sites}) as phase:
            folders = [package["metadata"] for site in sites for package in installed(site)]
            claims: dict[str, set[str]] = {}
            for folder in folders:
                for path, expected in read_record(Path(folder)).items():
                    claims.setdefault(path, set()).add(expected)
            # how much there is to do: by such numbers estimates tell which past audits were like this one
            phase.output_data = {"distributions": len(folders), "files": len(claims)}
        show(f"inventory: {len(claims)} files of {len(folders)} distributions", end=True)

        async with inv.phase("integrity") as phase:

            async def check(folder: str) -> None:
                reports.append(await asyncio.to_thread(check_files, folder, claims))
                phase.progress(len(reports) / len(folders))
                show(f"integrity: {len(reports)} of {len(folders)} distributions")

            async with asyncio.TaskGroup() as group:  # threads help: hashing lets go of the interpreter lock
                for folder in folders:
                    group.create_task(check(folder))
            verified = sum(checked["verified"] for checked in reports)
            reports += [report([found async for found in orphans(site, claims)]) for site in sites]
            phase.output_data = {"verified": verified}
        without = sum(hashes == {""} for hashes in claims.values())
        show(f"integrity: {verified} files verified, {without} have no hash in RECORD", end=True)

        async with inv.phase("provenance"):
            origins = await asyncio.gather(*(provenance(folder) for folder in folders))
            reports += origins
        installers = Counter(origin["installer"] for origin in origins)
        show("provenance: " + ", ".join(f"{count} by {who}" for who, count in installers.most_common()), end=True)

        async with inv.phase("exposure"):
            points = await asyncio.gather(*(asyncio.to_thread(entry_points, site) for site in sites))
            startup = [found for site in sites for found in startup_code(site, claims)]
            reports += [*points, report(startup)]
        commands = sum(point["commands"] for point in points)
        show(f"exposure: {commands} commands, {len(startup)} pieces of code run at start-up", end=True)

        async with inv.phase("verdict"):
            total = report(found for one in reports for found in one["findings"])
            counts = {kind: sum(one["counts"].get(kind, 0) for one in reports) for kind in SEVERITIES}
            inv.result = {**total, "counts": counts, "verdict": (verdict := judge(counts))}
        show(f"verdict: {verdict}", end=True)
        return inv.id


# ---- The command: what it prints at the end is read back from the record ----


def print_summary(sdk: InvestigationSDK, investigation_id: str) -> bool:
    """Print what was recorded; returns whether all is well."""
    print_phases(sdk, investigation_id)
    result = sdk.sync.get(investigation_id).result
    print("\nFindings: " + ", ".join(f"{count} {severity}" for severity, count in result["counts"].items()))
    for found in result["findings"]:
        print(f"  {found['severity']:<9} {found['kind']:<11} {found['path']} {found['detail']}")
    if more := sum(result["counts"].values()) - len(result["findings"]):
        print(f"  and {more} more, in what the tools answered")
    print(f"Verdict: {result['verdict']}\n")

    return print_chain(sdk, investigation_id) and result["verdict"] == "clean"


def site_folders(environment: Path | None) -> list[str]:
    """The site-packages folders of an environment; by default of the one that runs this."""
    if environment is None:
        folders = [folder for folder in map(Path, sys.path) if [*folder.glob("*.dist-info")]]
    else:
        inside = ("lib*/python*/*-packages", "lib/pypy*/*-packages", "Lib/site-packages")
        folders = [environment, *(folder for pattern in inside for folder in environment.glob(pattern))]
    return sorted({str(folder.resolve()) for folder in folders if metadata_of(folder)})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = Parser(description="Audit a Python environment, and record the audit.")
    default = os.environ.get("INVESTIGATION_URL", "sqlite:///environment-audit.db")
    parser.add_argument("--db", metavar="URL", default=default, help="where to record it (%(default)s)")
    parser.add_argument("--environment", metavar="PATH", type=Path, help="a venv or a site-packages (this one)")
    parser.add_argument("--key", help="names the audit: one that is finished is shown, not run again")
    options = parser.parse_args(arguments)
    name = options.environment or Path(sys.prefix)
    try:
        if not name.is_dir():
            parser.error(f"there is no folder {name}")
        if not (sites := site_folders(options.environment)):
            parser.error(f"no distributions are installed in {name}")
        with InvestigationSDK(options.db, auto_migrate=True) as sdk:
            investigation_id = asyncio.run(audit(sdk, str(name), sites, options.key))
            return 0 if print_summary(sdk, investigation_id) else 1
    except (InvestigationError, PermissionError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
