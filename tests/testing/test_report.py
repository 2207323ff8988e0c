"""The capability report: what it says of stores that are right, wrong, used, unknown."""

import subprocess
import sys
from pathlib import Path

import pytest

from investigation_backends.memory import MemoryBackend
from investigation_backends.memory_store import MemoryStore
from investigation_sdk import InvestigationSDK
from investigation_sdk.storage.commit import Lease
from investigation_sdk.testing.contract import StoreUnderTest
from investigation_sdk.testing.report import Check, check, checks, main, stores_of


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit status, and what it printed."""
    status = main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def test_a_store_that_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = told(capsys, "memory://")
    table, _, sums = out.strip().rpartition("\n\n")
    rows = table.splitlines()[2:]
    assert (status, len(rows)) == (0, len(checks()))
    skipped = [row for row in rows if "skipped" in row]
    reasons = ("no URL that another process could open", "reads them one after the other", "reads whole events only")
    assert all(any(reason in row for reason in reasons) for row in skipped), skipped
    assert sums == f"{len(rows) - len(skipped)} passed, 0 failed, {len(skipped)} skipped"


class GivesLeasesToAll(MemoryBackend):
    async def claim(self, resource: str, owner: str, *, ttl: int) -> Lease | None:
        lease = await super().claim(resource, owner, ttl=ttl)
        return lease or Lease(resource, owner, 2**62, 0)


def wrong_store(folder: Path) -> StoreUnderTest:
    store = MemoryStore()
    return StoreUnderTest(lambda: GivesLeasesToAll(store=store))


def test_a_bug_is_named_with_the_line_that_noticed_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = [one for one in checks() if one.group == "Lease"]
    monkeypatch.setattr("investigation_sdk.testing.report.checks", lambda: leases)
    status, out, _ = told(capsys, f"{__name__}:wrong_store")
    assert status == 1
    (row,) = [row for row in out.splitlines() if "of many that try one wins" in row]
    assert " failed " in row
    assert "[leases.py:" in row
    assert "assert len(won) == 1" in row
    assert "0 failed" not in out


async def test_what_a_check_leaves_is_gone_before_the_next(sqlite_url: str) -> None:
    new_store = stores_of(sqlite_url)
    again = [one for one in checks() if one.group in ("Lease", "Queue")] * 2
    results = [await check(one, new_store) for one in again]
    assert {(result.name, result.why) for result in results if result.verdict != "passed"} == set()


async def test_a_check_that_hangs_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hangs(MemoryBackend):
        async def release(self, lease: Lease) -> bool:
            raise TimeoutError

    result = await check(Check("Lease", "test_only_its_owner_releases"), lambda _: StoreUnderTest(Hangs))
    assert result.verdict == "failed"
    assert "not done within 180 s" in result.why


def test_a_store_that_is_used_is_refused(sqlite_url: str) -> None:
    with InvestigationSDK(sqlite_url) as sdk, sdk.investigation("dear to somebody") as run:
        pass
    done = subprocess.run(
        [sys.executable, "-m", "investigation_sdk.testing", sqlite_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds investigations already" in done.stderr
    assert "Give an empty one" in done.stderr
    with InvestigationSDK(sqlite_url) as sdk:
        assert sdk.sync.verify(run.id).ok


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "usage: python -m investigation_sdk.testing URL"),
        (("a", "b"), "usage: python -m investigation_sdk.testing URL"),
        (("--fast",), "usage: python -m investigation_sdk.testing URL"),
        (("cases.db",), "neither a URL, such as sqlite:///new.db, nor module:function"),
        (("no_such_module:store",), "No module named 'no_such_module'"),
        ((f"{__name__}:no_store",), "has no attribute 'no_store'"),
        (("oracle://me:hunter2@there/x",), "oracle"),
    ],
)
def test_what_cannot_begin(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    status, out, err = told(capsys, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert "hunter2" not in err


def test_asserts_are_needed() -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-m", "investigation_sdk.testing", "memory://"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "without -O" in done.stderr


def test_it_needs_no_pytest() -> None:
    code = (
        "import sys; sys.modules['pytest'] = sys.modules['pytest_asyncio'] = None\n"
        "from investigation_sdk.testing.report import main; main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Take one that you can throw away" in done.stdout


@pytest.mark.server
@pytest.mark.parametrize("kind", ["sqlite_url", "postgres_store", "mongo_store"])
def test_every_store_passes(kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = told(capsys, request.getfixturevalue(kind))
    assert (status, err) == (0, ""), "\n".join(row for row in out.splitlines() if " failed " in row)[:4000]
