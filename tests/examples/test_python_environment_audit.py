"""The example that `make demo` runs, on environments made for it."""

import asyncio
import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from investigation_sdk import InvestigationSDK

EXAMPLE = Path(__file__).parents[2] / "examples" / "python_environment_audit.py"
PHASES = ["inventory", "integrity", "provenance", "exposure", "verdict"]
TOOLS = {"installed", "check_files", "orphans", "provenance", "startup_code", "entry_points", "judge"}


@pytest.fixture(scope="module")
def example(load_example):
    return load_example("python_environment_audit")


def record_hash(content, algorithm="sha256"):
    digest = hashlib.new(algorithm, content).digest()
    return f"{algorithm}={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def install(site, name, files, *, rows=(), metadata=None):
    """Do what an installer does: the files, *.dist-info and RECORD, with the hash of each."""
    info = f"{name}-1.0.dist-info"
    texts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "INSTALLER": "pip\n",
        **(metadata or {}),
    }
    contents = {**files, **{f"{info}/{file}": text for file, text in texts.items()}}
    lines = list(rows)
    for path, text in contents.items():
        target = site / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content := text.encode())
        lines.append(f"{path},{record_hash(content)},{len(content)}")
    (site / info / "RECORD").write_text("\n".join([*lines, f"{info}/RECORD,,", ""]))
    return site / info


@pytest.fixture
def site(tmp_path):
    """Two ordinary distributions, an editable one, a `.pth` that executes, a cache and a script."""
    folder = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    files = {"alpha/__init__.py": "", "alpha/core.py": "print('alpha')\n", "../../../bin/alpha": "#!/bin/sh\n"}
    install(
        folder,
        "alpha",
        files,
        rows=["alpha/__pycache__/core.cpython-311.pyc,,"],
        metadata={"entry_points.txt": "[console_scripts]\nalpha = a:main\n\n[pytest11]\nalpha = a\n"},
    )
    marker = tmp_path / "executed"
    install(
        folder, "beta", {"beta.py": "x = 1\n", "beta.pth": f"import pathlib; pathlib.Path({str(marker)!r}).touch()\n"}
    )
    origin = json.dumps({"url": "file:///home/me/gamma", "dir_info": {"editable": True}})
    install(folder, "gamma", {"_gamma.pth": "/home/me/gamma\n"}, metadata={"direct_url.json": origin})
    return folder


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'audit.db'}"


@pytest.fixture
def audit(example, site, url, capsys):
    """Run the command on the environment; returns its exit status, stdout and stderr."""

    def run(*arguments, environment=None):
        status = example.main(["--db", url, "--environment", str(environment or site.parents[2]), *arguments])
        return status, *capsys.readouterr()

    return run


def findings(out, severity):
    return [line.split(maxsplit=2)[1:] for line in out.splitlines() if line.startswith(f"  {severity} ")]


def recorded(url):
    with InvestigationSDK(url) as sdk:
        [investigation] = sdk.sync.list(investigation_type="environment_audit")
        phases = sdk.sync.phases(investigation.id)
        return investigation, list(phases), list(sdk.sync.tools(investigation.id))


def test_a_clean_environment(audit, site, tmp_path):
    status, out, err = audit()
    assert status == 0
    assert "Verdict: clean" in out
    assert findings(out, "critical") == findings(out, "warning") == []
    kinds = dict(findings(out, "info"))
    assert str(site / "beta.pth") in kinds["startup"]
    assert "line 1 runs: import pathlib" in kinds["startup"]
    assert "editable" in kinds["origin"]
    assert "file:///home/me/gamma" in kinds["origin"]
    assert [line.split(":")[0] for line in err.splitlines()] == PHASES
    assert not (tmp_path / "executed").exists(), "the audit must not run what it looks at"


def test_everything_is_in_the_record(audit, url):
    _, out, _ = audit()
    investigation, phases, tools = recorded(url)
    assert investigation.status == "completed"
    assert investigation.result["verdict"] == "clean"
    assert [(phase.phase_name, phase.status) for phase in phases] == [(name, "completed") for name in PHASES]
    assert {call.tool_name for call in tools} == TOOLS
    assert {call.status for call in tools} == {"completed"}
    assert Counter(call.tool_name for call in tools)["check_files"] == 3
    names = {phase.id: phase.phase_name for phase in phases}
    assert {names[call.phase_id] for call in tools if call.tool_name == "check_files"} == {"integrity"}
    assert not any("claims" in call.input_parameters for call in tools)
    for name in PHASES:
        assert f"\n{name}" in out
    assert out.splitlines()[-1] == f"To look further: investigate show {investigation.id} --db {url}"
    with InvestigationSDK(url) as sdk:
        assert sdk.sync.verify(investigation.id).ok


@pytest.mark.server
@pytest.mark.parametrize("store", ["postgres_url", "mongo_url"])
def test_on_a_server_whose_database_is_empty(example, site, capsys, request, store):
    """What ``make demo DB=postgresql://…`` and ``DB=mongodb://…`` do."""
    url = request.getfixturevalue(store)
    assert example.main(["--db", url, "--environment", str(site.parents[2])]) == 0
    out, _ = capsys.readouterr()
    assert "Verdict: clean" in out
    investigation, phases, tools = recorded(url)
    assert investigation.status == "completed"
    assert [(phase.phase_name, phase.status) for phase in phases] == [(name, "completed") for name in PHASES]
    assert {call.status for call in tools} == {"completed"}
    assert {call.tool_name for call in tools} == TOOLS


def test_a_file_that_was_changed_is_named(audit, site, url):
    (site / "alpha" / "core.py").write_text("print('evil!')\n")
    status, out, _ = audit()
    assert status == 1
    [(kind, what)] = findings(out, "critical")
    assert kind == "modified"
    assert what.startswith(f"{site / 'alpha' / 'core.py'} has sha256=")
    assert "Verdict: suspicious" in out
    assert recorded(url)[0].status == "completed"


@pytest.mark.parametrize("path", ["alpha/core.py", "beta-1.0.dist-info/METADATA"])
def test_a_file_that_is_missing_is_named(audit, site, path):
    (site / path).unlink()
    status, out, _ = audit()
    assert status == 1
    [(kind, what)] = findings(out, "critical")
    assert (kind, what.split()[0]) == ("missing", str(site / path))


def test_a_folder_in_the_place_of_a_file(audit, site):
    (site / "alpha" / "core.py").unlink()
    (site / "alpha" / "core.py").mkdir()
    status, out, _ = audit()
    assert status == 1
    assert findings(out, "critical")[0][0] == "replaced"


def test_site_packages_alone_without_its_scripts(audit, site):
    (site / "../../../bin/alpha").unlink()
    status, out, _ = audit(environment=site)
    assert status == 0
    [(kind, what)] = findings(out, "warning")
    assert kind == "missing"
    assert what.startswith(str(site.parents[2] / "bin" / "alpha"))


def test_a_script_that_was_changed(audit, site):
    (site / "../../../bin/alpha").write_text("#!/bin/sh\nevil\n")
    status, out, _ = audit()
    assert status == 1
    assert findings(out, "critical")[0][1].startswith(str(site.parents[2] / "bin" / "alpha"))


def test_what_nobody_installed(audit, site):
    (site / "dropped.pth").write_text("import os\n")
    (site / "alpha" / "extra.py").write_text("")
    (site / "sitecustomize.py").write_text("")
    status, out, _ = audit()
    assert status == 0
    assert [what.split()[0] for _, what in findings(out, "warning")] == [
        str(site / "dropped.pth"),
        str(site / "sitecustomize.py"),
    ]
    orphans = [what for kind, what in findings(out, "info") if kind == "orphan"]
    assert [what.split()[0] for what in orphans] == [
        str(site / name) for name in ("alpha/extra.py", "dropped.pth", "sitecustomize.py")
    ]


def test_one_file_of_two_distributions(audit, site):
    install(site, "delta", {"tests.py": "delta"})
    install(site, "epsilon", {"tests.py": "epsilon"})
    status, out, _ = audit()
    assert status == 0
    [(kind, what)] = findings(out, "warning")
    assert (kind, what.split()[0]) == ("overwritten", str(site / "tests.py"))


def test_many_changes_are_all_counted_and_stay_small(audit, site, url):
    install(site, "many", {f"many/{'m' * 100}{number}.py": "" for number in range(1500)})
    for path in (site / "many").iterdir():
        path.write_text("changed")
    status, out, _ = audit()
    assert status == 1
    assert "Findings: 1500 critical" in out
    assert "more, in what the tools answered" in out
    assert len(out) < 32_768
    assert all(len(repr(call.output_result)) < 32_768 for call in recorded(url)[2])


def test_environments_as_they_are(audit, site, url):
    odd = os.fsdecode(b"caf\xe9\x1b[31m.py")  # not UTF-8, and a control character
    (site / odd).write_bytes(b"odd")
    info = install(
        site,
        "odd",
        {"ok.py": "ok", "line\u2028break.py": ""},
        rows=[
            f"md5.py,{record_hash(b'md5', 'md5')},3",
            f"hex.py,sha256={hashlib.sha256(b'hex').hexdigest()},3",
            "crc.py,crc32=AAAA,0",
            "shake.py,shake_128=AAAA,0",
            "nul\0.py,sha256=AAAA,0",
            '"quoted, name.py",' + record_hash(b"quoted") + ",6",
            "only-a-name.pyc",
            "",
        ],
        metadata={"entry_points.txt": "[console_scripts]\nno equals sign\n", "direct_url.json": "[]"},
    )
    (site / "md5.py").write_bytes(b"md5")
    (site / "hex.py").write_bytes(b"hex")
    (site / "shake.py").touch()
    (site / "crc.py").touch()
    (site / "quoted, name.py").write_bytes(b"quoted")
    with (info / "RECORD").open("ab") as record:
        record.write(os.fsencode(odd) + f",{record_hash(b'changed')},3\n".encode())
    (site / "legacy-1.0-py3.11.egg-info").write_text("Name: legacy\n")
    (site / "old-2.0.egg-info").mkdir()
    (site / "bare.dist-info").mkdir()
    with zipfile.ZipFile(site / "zipped-1.0.egg", "w") as egg:
        egg.writestr("EGG-INFO/PKG-INFO", "Name: zipped\n")
    (site / "huge-1.0.dist-info").mkdir()
    (site / "huge-1.0.dist-info" / "RECORD").write_text("x" * 200_000 + ",sha256=AAAA,\n")
    (site / "binary-1.0.dist-info").mkdir()
    (site / "binary-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe[console_scripts]")
    (site / "binary.pth").write_bytes(b"import \xff\x00\n")

    status, out, _ = audit()

    assert status == 1
    [(kind, what)] = findings(out, "critical")
    assert kind == "modified"
    assert what.startswith(str(site / "caf\\udce9\\x1b[31m.py"))
    unchecked = [what for kind, what in findings(out, "warning") if kind == "unchecked"]
    for name in ("crc.py", "shake.py", "nul\\x00.py", "legacy-1.0", "old-2.0", "bare", "zipped-1.0", "huge-1.0"):
        assert any(what.startswith(str(site / name)) for what in unchecked), name
    invalid = {what.split()[0] for kind, what in findings(out, "warning") if kind in ("commands", "origin")}
    assert invalid == {
        str(site / "odd-1.0.dist-info" / "direct_url.json"),
        str(site / "odd-1.0.dist-info" / "entry_points.txt"),
        str(site / "binary-1.0.dist-info" / "entry_points.txt"),
    }
    assert [phase.status for phase in recorded(url)[1]] == ["completed"] * len(PHASES)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_does_not_hang_it(site, url):
    (site / "beta.py").unlink()
    os.mkfifo(site / "beta.py")
    command = [sys.executable, EXAMPLE, "--db", url, "--environment", site]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 1


def test_a_file_that_cannot_be_read(audit, site, monkeypatch):
    def refuse(path, *arguments, **options):
        if path == site / "beta.py":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    opened = Path.open
    monkeypatch.setattr(Path, "open", refuse)
    status, out, _ = audit()
    assert status == 0
    [(kind, what)] = findings(out, "warning")
    assert (kind, what.split()[0]) == ("unchecked", str(site / "beta.py"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything is readable here")
def test_files_without_permission(audit, site):
    (site / "beta.py").chmod(0)
    (site / "gamma-1.0.dist-info" / "RECORD").chmod(0)
    status, out, _ = audit()
    assert status == 0
    assert [kind for kind, _ in findings(out, "warning")].count("unchecked") == 2


def test_a_password_is_not_recorded(audit, site, url, tmp_path):
    origin = json.dumps({"url": "http://me:s3cret@example.org/private.whl"})
    install(site, "private", {}, metadata={"direct_url.json": origin})
    _, out, _ = audit()
    assert "http://example.org/private.whl" in dict(findings(out, "warning"))["origin"]
    assert not [file for file in tmp_path.glob("audit.db*") if b"s3cret" in file.read_bytes()]
    assert "s3cret" not in out


def test_a_key_names_one_audit(audit, site, url):
    status, first, _ = audit("--key", "release-7")
    assert status == 0
    (site / "beta.py").write_text("changed")
    status, second, err = audit("--key", "release-7")
    assert status == 0, "what is shown is the record of then"
    assert "finished before" in err
    assert second == first
    assert Counter(call.tool_name for call in recorded(url)[2])["check_files"] == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--environment", "no/such/folder"], "there is no folder"),
        (["--environment", "."], "no distributions are installed"),
        (["--colour"], "unrecognized arguments: --colour"),
        (["--db", "carrier-pigeon://loft"], "carrier-pigeon"),
    ],
)
def test_bad_usage_is_answered_with_one_sentence(
    example, arguments, sentence, site, url, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = ["--db", url, *(["--environment", str(site)] if "--db" in arguments else []), *arguments]
    with pytest.raises(SystemExit) as stopped:
        example.main(given)
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not out


def test_a_terminal_sees_one_line_that_changes(example, site, url, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert example.main(["--db", url, "--environment", str(site)]) == 0
    assert len(terminal.getvalue().splitlines()) > len(PHASES)
    assert terminal.getvalue().count("\n") == len(PHASES)
    assert "\rintegrity: 3 of 3 distributions" in terminal.getvalue()


def test_the_tools_are_ordinary_functions(example, site):
    packages = list(example.installed(str(site)))
    assert [package["name"] for package in packages] == ["alpha", "beta", "gamma"]
    assert all(package["record"].startswith("sha256=") for package in packages)
    assert example.check_files(packages[0]["metadata"], {})["verified"] == 6
    assert asyncio.run(example.provenance(packages[0]["metadata"]))["installer"] == "pip"
    assert example.entry_points(str(site))["groups"] == {"console_scripts": 1, "pytest11": 1}
    assert example.judge({"critical": 0, "warning": 3}) == "clean"


def test_the_environment_that_runs_it(tmp_path):
    """As `make demo` does; whether it is clean is the machine's business."""
    done = subprocess.run(
        [sys.executable, EXAMPLE],
        env={**os.environ, "INVESTIGATION_URL": f"sqlite:///{tmp_path / 'demo.db'}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == PHASES
    assert "Verdict: " in done.stdout
    assert "chain verified" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".db") == ["demo.db"]
