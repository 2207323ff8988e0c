"""Crash in the middle of an investigation, run it again, and see what it does not have to do a second time.

    python examples/crash_and_resume.py
    python examples/crash_and_resume.py --db sqlite:///crash.db     # look at it afterwards with `investigate show`

The script runs itself three times with one key, as a program does that somebody starts again:

1. The first run is killed (SIGKILL) in the middle of the seventh tool.
2. The second one gets the results of the six that were finished from the record. Then it comes to `freeze_account`,
   which was cut off: nobody knows whether the bank did it, and doing it twice is not safe. It stops and asks.
3. Somebody asks the bank and says so; the third run goes on to the end.

Each tool writes a line into a file when it really runs: what was done, and how often, is counted without the record.
Exit status: 0 each finished tool ran once, and the account was frozen once; 1 it is not so; 2 it could not be done.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from _shared import Parser, print_next, shown
from investigation_sdk import InvestigationError, InvestigationSDK, Resolution, ToolState, UnknownOutcome, tool

KEY = "case-981"
ACCOUNTS = ("41", "42", "43")


def really_did(what: str) -> None:
    """Writes down what was done, outside the record."""
    with Path(os.environ["CRASH_DIARY"]).open("a", encoding="utf-8") as diary:
        diary.write(f"{what}\n")
        diary.flush()
        os.fsync(diary.fileno())


@tool(agent="analyst", effect="read")
def collect_logins(account: str) -> list[str]:
    """Slow and paid for: not to be done again."""
    really_did(f"collect_logins {account}")
    time.sleep(0.2)
    return [f"{account}: login from NL", f"{account}: login from BR"]


@tool(agent="analyst", effect="read")
def score(account: str, logins: list[str]) -> float:
    """A model's answer: another one, the next time."""
    really_did(f"score {account}")
    return round(len(logins) / 3 + int(account) / 1000, 3)


@tool(agent="containment", effect="unsafe")
def freeze_account(account: str) -> dict[str, str]:
    """Not to be done twice."""
    really_did(f"freeze_account {account}")
    if "CRASH_HERE" in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)  # the bank has done it, and we never hear of that
    return {"account": account, "state": "frozen"}


def investigate(sdk: InvestigationSDK) -> None:
    """The investigation, as it would be without any thought of crashes."""
    with sdk.investigation("three accounts, one of them taken over", key=KEY, investigation_type="fraud") as case:
        with case.phase("evidence"):
            risk = {account: score(account, collect_logins(account)) for account in ACCOUNTS}
        with case.phase("containment"):
            worst = max(risk, key=lambda account: risk[account])
            freeze_account(worst)
        case.result = {"frozen": worst, "risk": risk}


def one_run(url: str) -> int:
    """What a child does: 0 it got to the end, 3 it has to ask first."""
    with InvestigationSDK(url) as sdk:
        try:
            investigate(sdk)
        except UnknownOutcome as unknown:
            print(f"   stopped: {unknown.tool_name} was cut off, and nobody knows what became of it")
            return 3
    return 0


def run_again(url: str, diary: Path, *, crash: bool = False) -> tuple[int, list[str]]:
    """Run the investigation in a process of its own: its exit status, and what it really did."""
    before = diary.read_text(encoding="utf-8").splitlines()
    environment = {**os.environ, "CRASH_DIARY": str(diary), **({"CRASH_HERE": "1"} if crash else {})}
    command = [sys.executable, str(Path(__file__).resolve()), "--db", url, "--one-run"]
    done = subprocess.run(command, env=environment, check=False, timeout=120)  # noqa: S603 - this very script
    return done.returncode, diary.read_text(encoding="utf-8").splitlines()[len(before) :]


def tell(number: int, status: int, done: list[str]) -> None:
    """What one run did."""
    how = {0: "it got to the end", 3: "it stopped to ask"}.get(status, f"killed by signal {-status}")
    print(f"{number}. run: {how}")
    print(f"   really done: {', '.join(done) if done else 'nothing'}")


def play(url: str, diary: Path) -> bool:
    """All three runs; whether everything was done once."""
    status, done = run_again(url, diary, crash=True)
    tell(1, status, done)
    killed = status == -signal.SIGKILL and len(done) == 7
    status, again = run_again(url, diary)
    tell(2, status, again)
    asked = status == 3 and not again
    with InvestigationSDK(url) as sdk:
        case = sdk.sync.find(key=KEY, investigation_type="fraud")
        assert case is not None
        (call,) = sdk.sync.tools(case.id, status=ToolState.UNKNOWN)
        frozen = Resolution(outcome="succeeded", result={"account": "43", "state": "frozen"}, reason="phoned the bank")
        sdk.sync.service.resolve(call.id, frozen, actor="ann")
        sdk.sync.service.resume(case.id, "the bank says that it is frozen", actor="ann")
        print("   ann: the bank says that account 43 is frozen")
        status, rest = run_again(url, diary)
        tell(3, status, rest)
        case = sdk.sync.get(case.id)
        calls = list(sdk.sync.tools(case.id))
        chain = sdk.sync.verify(case.id)
    times = Counter(diary.read_text(encoding="utf-8").splitlines())
    print(f"\n{shown(case.subject)}: {case.status}, frozen: account {case.result['frozen']}")
    print(f"{len(calls)} calls in the record, {sum(times.values())} really done, {max(times.values())} time(s) at most")
    print(f"chain of {chain.checked} events: {'intact' if chain.ok else 'BROKEN'}")
    return killed and asked and status == 0 and chain.ok and set(times.values()) == {1} and len(times) == 7


def main() -> int:
    """The command."""
    parser = Parser(description="Crash in the middle of an investigation, and run it again.")
    parser.add_argument("--db", metavar="URL", help="the store; by default an SQLite file that is removed afterwards")
    parser.add_argument("--one-run", action="store_true", help="run the investigation once (the script does this)")
    options = parser.parse_args()
    try:
        if options.one_run:
            return one_run(options.db)
        with tempfile.TemporaryDirectory() as folder:
            diary = Path(folder) / "diary.txt"
            diary.touch()
            url = options.db or f"sqlite:///{folder}/crash.db"
            with InvestigationSDK(url) as sdk:
                if sdk.sync.find(key=KEY, investigation_type="fraud") is not None:
                    parser.error(f"{url} has a {KEY} already; name a new database")
            well = play(url, diary)
            if options.db:
                with InvestigationSDK(url) as sdk:
                    print_next(sdk, "fraud", KEY)
    except InvestigationError as error:
        parser.error(str(error))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
