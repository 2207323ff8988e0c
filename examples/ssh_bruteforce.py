"""Investigate an sshd log: who attacked, from where, which accounts, and did any of them get in?

    python examples/ssh_bruteforce.py /var/log/auth.log
    journalctl -u ssh -o short-iso > sshd.log && python examples/ssh_bruteforce.py sshd.log --db sqlite:///cases.db
    python examples/ssh_bruteforce.py auth.log --threshold 10 --key incident-42

The log is read as a stream, twice: once to count, once to trace the logins that were accepted. Nothing is asked of the
network. A source attacks if it failed `--threshold` times in a row, with no accepted login in between, or tried two
accounts that do not exist. It got in if it attacks and a login from it was accepted, then or at another time. Where at
least `--threshold` sources failed that never logged in, the log is of an attack, though each may have tried but once.
With `--key`, an investigation that is finished is shown, not run again.
Exit status: 0 no attacker got in, 1 one did as far as the log says, 2 it could not be done.

What it can know is what sshd wrote, in the order of the lines: an intruder who edited the log, or who came with a
stolen key and never failed, looks like anybody else. Such logins are listed, to be known or not by whoever reads.
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from _shared import Parser, input_file, positive, print_chain, print_phases, show, shown
from _sshd_log import Row, Source, Tally, cleaned, count, lines, parse, trace
from investigation_sdk import InvestigationError, InvestigationSDK, PhasePlan, agent, tool

TOP: Final = 10  # of sources, accounts and so on that the result keeps; the rest is in what the tools answered
SEVERITIES: Final = ("critical", "warning", "info")
GUESSED: Final = ("password", "keyboard-interactive")  # beginnings of the methods in which a secret can be guessed

Item = dict[str, Any]


def attacks(row: Row, threshold: int) -> bool:
    """Whether such a row of failures is an attack."""
    return row.failed >= threshold or row.several


# ---- Tools: what is looked at. Called outside an investigation, they are ordinary functions. ----


@tool(effect="read")
def fingerprint(path: str, size: int) -> Item:
    """Intake: which bytes this is about, so that the evidence can be told from another."""
    digest, left = hashlib.sha256(), size
    with Path(path).open("rb") as file:
        while left > 0 and (block := file.read(min(left, 2**20))):
            digest.update(block)
            left -= len(block)
    return {"bytes": size - left, "sha256": digest.hexdigest()}


@tool(effect="read", ignore=["tally", "progress"], summary=lambda counted: f"{counted['lines']} lines")
def read_log(path: str, size: int, tally: Tally, progress: Callable[[float], None]) -> Item:
    """Intake: count the whole log into `tally`."""
    count(Path(path), size, tally, progress)
    return {
        "lines": tally.lines,
        "not_of_sshd": tally.foreign,
        "too_long": tally.too_long,
        "first": tally.first,
        "last": tally.last,
        "hosts": sorted(map(cleaned, tally.hosts))[:TOP],
        "number_of_hosts": len(tally.hosts),
        "counts": dict(tally.counts),
    }


@tool(effect="read", ignore=["tally"])
def rank_sources(tally: Tally, threshold: int) -> Iterator[Item]:
    """Attackers: the sources that failed or tried accounts that do not exist, those with most attempts first."""

    def order(item: tuple[str, Source]) -> tuple[int, int, str]:
        return -item[1].failed, -len(item[1].accounts), item[0]

    for name, source in sorted(tally.sources.items(), key=order):
        if source.failed or source.unknown:
            yield {
                "source": name,
                "attempts": source.failed,
                "in_a_row": source.worst.failed,
                "accounts": len(source.accounts),
                "unknown": len(source.unknown),
                "first": source.first,
                "last": source.last,
                "accepted": source.accepted,
                "attacks": attacks(source.worst, threshold),
            }


@tool(effect="read", ignore=["tally"])
def find_probes(tally: Tally) -> Item:
    """Attackers: the sources that connected and left without trying an account."""
    found = [(s.probes, name) for name, s in tally.sources.items() if s.probes and not (s.failed or s.unknown)]
    top = [{"source": name, "connections": n} for n, name in sorted(found, key=lambda item: (-item[0], item[1]))[:TOP]]
    return {"sources": len(found), "connections": sum(n for n, _ in found), "top": top}


@tool(effect="read", ignore=["tally"])
async def mapping_warnings(tally: Tally) -> Item:
    """Attackers: the sources whose name does not lead back to their address, which sshd warns of."""
    found = [(s.warnings, name, s.name) for name, s in tally.sources.items() if s.warnings]
    top = [{"source": source, "name": name, "warnings": n} for n, source, name in sorted(found, reverse=True)[:TOP]]
    return {"sources": len(found), "warnings": sum(n for n, *_ in found), "top": top}


@tool(effect="read", ignore=["tally"])
async def rank_accounts(tally: Tally) -> AsyncIterator[Item]:
    """Accounts: those that were tried, most attempts first; `exists` as far as sshd said otherwise."""
    for name, account in sorted(tally.accounts.items(), key=lambda item: (-item[1].failed, item[0])):
        yield {
            "account": name,
            "attempts": account.failed,
            "sources": len(account.sources),
            "exists": account.exists,
        }


@tool(effect="read", ignore=["tally"])
def hourly(tally: Tally) -> Iterator[Item]:
    """Accounts: the failed attempts of each hour that had some."""
    for hour, attempts in tally.hours.items():
        yield {"hour": hour, "attempts": attempts}


@tool(effect="read", ignore=["wanted"])
def trace_logins(path: str, size: int, wanted: set[tuple[str, str]]) -> Iterator[Item]:
    """Logins: each account and source with accepted logins, and what failed before the first."""
    for login in trace(Path(path), size, wanted):
        yield asdict(login) | {"methods": sorted(login.methods)}


@tool(effect="read")
async def check_login(login: Item, threshold: int) -> Item:
    """Logins: what to make of the logins to one account from one source."""
    before, ever = Row(**login["before"]), Row(**login["ever"])
    guessed = any(method.startswith(GUESSED) for method in login["methods"])
    if attacks(before, threshold):
        kind, why = "breach", f"{before}; then this was accepted"
    elif attacks(ever, threshold):
        kind, why = "attacker", f"at another time, {ever}"
    elif before.failed or before.unknown:
        kind, why = "after-failures", f"directly before, {before}"
    elif guessed and login["elsewhere"] >= threshold:
        kind, why = "attacked-account", f"{login['elsewhere']} attempts on it had failed from other sources"
    else:
        kind, why = "ordinary", "nothing failed from there directly before"
    if kind != "attacked-account" and guessed and login["elsewhere"] >= threshold:
        why += f"; {login['elsewhere']} attempts on the account had failed from other sources"
    severity = {"breach": "critical", "attacker": "critical", "ordinary": "info"}.get(kind, "warning")
    shared = {name: login[name] for name in ("account", "source", "first", "count", "methods")}
    return {"severity": severity, "kind": kind, "why": why, **shared}


@tool(effect="read")
def judge(breaches: int, attackers: int, strangers: int, threshold: int) -> str:
    """Verdict: did an attacker get in, or only try? Strangers are sources that failed and never logged in."""
    if breaches:
        return "breached"
    return "attacked" if attackers or strangers >= threshold else "quiet"


# ---- The investigation: in which order, and what at the same time ----


async def investigate(sdk: InvestigationSDK, path: Path, threshold: int, key: str | None) -> str:
    """Run the investigation; returns its id."""
    plan = [
        PhasePlan("intake", weight=8, tools=[fingerprint, read_log]),
        PhasePlan("attackers", tools=[rank_sources, find_probes, mapping_warnings]),
        PhasePlan("accounts", tools=[rank_accounts, hourly]),
        PhasePlan("logins", weight=4, tools=[trace_logins, check_login]),
        PhasePlan("verdict", tools=[judge]),
    ]
    its_type, settings = "ssh_bruteforce", {"threshold": threshold}
    async with (
        sdk.investigation(
            f"sshd log {shown(path)}", investigation_type=its_type, key=key, phases=plan, configuration=settings
        ) as inv,
        agent("log_analyst"),
    ):
        if inv.finished:
            show("This investigation was finished before; what follows is its record.", end=True)
            return inv.id
        name, size, tally = str(path), await asyncio.to_thread(os.path.getsize, path), Tally()

        async with inv.phase("intake", input_data={"path": shown(name), "size": size}) as phase:

            def progress(fraction: float) -> None:
                phase.progress(fraction)
                show(f"intake: {fraction:.0%} of {size / 1e6:,.0f} MB")

            evidence, intake = await asyncio.gather(
                asyncio.to_thread(fingerprint, name, size), asyncio.to_thread(read_log, name, size, tally, progress)
            )
            phase.output_data = evidence
        show(f"intake: {intake['lines']} lines from {intake['first']} to {intake['last']}", end=True)

        async with inv.phase("attackers"):
            sources, probes, warnings = await asyncio.gather(
                asyncio.to_thread(lambda: list(rank_sources(tally, threshold))),
                asyncio.to_thread(find_probes, tally),
                mapping_warnings(tally),
            )
            attackers = sum(source["attacks"] for source in sources)
            strangers = sum(not source["accepted"] for source in sources)
        show(f"attackers: {attackers} of {len(sources)} sources that failed", end=True)

        async with inv.phase("accounts"):
            accounts = [account async for account in rank_accounts(tally)]
            hours = list(hourly(tally))
        show(f"accounts: {len(accounts)} were tried", end=True)

        async with inv.phase("logins"):
            traced = await asyncio.to_thread(lambda: list(trace_logins(name, size, tally.logins)))
            checks = await each(check_login(login, threshold) for login in traced)
            logins = sorted(checks, key=lambda login: SEVERITIES.index(login["severity"]))
            counts = {kind: sum(login["severity"] == kind for login in logins) for kind in SEVERITIES}
        show(f"logins: {counts['critical']} of {len(logins)} are an attacker's", end=True)

        async with inv.phase("verdict"):
            verdict = judge(counts["critical"], attackers, strangers, threshold)
            inv.result = {
                "verdict": verdict,
                "evidence": evidence,
                "intake": intake,
                "sources": {"failed": len(sources), "attack": attackers, "strangers": strangers, "top": sources[:TOP]},
                "accounts": {"tried": len(accounts), "top": accounts[:TOP]},
                "busiest_hour": max(hours, key=lambda hour: hour["attempts"], default=None),
                "probes": probes,
                "mapping_warnings": warnings,
                "logins": {"counts": counts, "top": logins[:TOP]},
                "forgotten": tally.forgotten,
            }
        show(f"verdict: {verdict}", end=True)
        return inv.id


async def each(checks: Iterable[Any]) -> list[Item]:
    """Await them all at the same time, a hundred at most: on a busy server, logins are many."""
    results, waiting = [], enumerate(checks)

    async def worker() -> None:
        for number, one in waiting:
            results.append((number, await one))

    await asyncio.gather(*(worker() for _ in range(100)))
    return [result for _, result in sorted(results, key=lambda pair: pair[0])]


# ---- The command: what it prints at the end is read back from the record ----


def print_summary(sdk: InvestigationSDK, investigation_id: str) -> bool:
    """Print what was recorded; returns whether no attacker got in and the chain holds."""
    print_phases(sdk, investigation_id)
    result = sdk.sync.get(investigation_id).result
    intake, sources, accounts, logins = (result[part] for part in ("intake", "sources", "accounts", "logins"))
    counts = intake["counts"]
    print(f"\n{intake['lines']} lines, {intake['lines'] - intake['not_of_sshd'] - intake['too_long']} of sshd", end="")
    print(f", on {', '.join(intake['hosts'])}{' …' if intake['number_of_hosts'] > TOP else ''}")
    if intake["too_long"]:
        print(f"{intake['too_long']} lines were too long to be sshd's, and were not read")

    print(f"\nSources: {sources['failed']} failed {counts.get('failed', 0)} times, {sources['attack']} of them attack")
    print_table(
        sources["top"], sources["failed"], ["attempts", "in_a_row", "accounts", "unknown", "first", "last"], "source"
    )
    print(f"\nAccounts: {accounts['tried']} were tried")
    tried = [{**account, "account": f"'{account['account']}'"} for account in accounts["top"]]  # blanks are seen, too
    print_table(tried, accounts["tried"], ["attempts", "sources", "exists"], "account")
    if busiest := result["busiest_hour"]:
        print(f"\nBusiest hour: {busiest['hour']}, {busiest['attempts']} attempts")
    for part, noun, what in (
        ("mapping_warnings", "warnings", "whose name does not lead back to their address (POSSIBLE BREAK-IN ATTEMPT)"),
        ("probes", "connections", "that left without trying an account"),
    ):
        found = result[part]
        named = ", ".join(f"{one['source']} ({one[noun]})" for one in found["top"])
        if found["sources"]:
            more = " …" if found["sources"] > len(found["top"]) else ""
            print(f"{found[noun]} {noun} of {found['sources']} sources {what}: {named}{more}")
    if result["forgotten"]:
        print(f"{result['forgotten']} sources and accounts with few attempts were forgotten: the counts are at least")

    print(f"\nLogins: {counts.get('accepted', 0)} accepted")
    for login in logins["top"]:
        print("  {severity:<9} {kind:<17}'{account}' from {source}, {count} times since {first}: {why}".format(**login))
    if (more := sum(logins["counts"].values()) - len(logins["top"])) > 0:
        print(f"  and {more} more, in what the tools answered")
    print(f"Verdict: {result['verdict']}\n")
    return print_chain(sdk, investigation_id) and result["verdict"] != "breached"


def print_table(rows: Sequence[Item], total: int, columns: Sequence[str], last: str) -> None:
    """The first rows of something, and how many more there are."""
    widths = {name: max(len(name), *(len(str(row[name])) for row in rows)) for name in columns if rows}
    for row in [{name: name for name in [*columns, last]}, *rows] if rows else []:
        cells = [f"{row[name]!s:>{width}}" for name, width in widths.items()]
        print(" ", *cells, row[last], sep="  ")
    if total > len(rows):
        print(f"    and {total - len(rows)} more, in what the tools answered")


COMPRESSED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK")


def recognise(parser: Parser, path: Path) -> Path:
    """A log with at least one line of sshd; else the command ends, before any store is made."""
    with input_file(parser, path).open("rb") as file:
        begin = file.read(8)
    if begin.startswith(COMPRESSED):
        parser.error(f"{path} is compressed; unpack it first")
    if begin == b"LPKSHHRH":
        parser.error(f"{path} is a journal; run: journalctl --file {path} -t sshd -o short-iso > sshd.log")
    if not any(map(parse, lines(path))):
        parser.error(f"{path} has no line of sshd, such as: Dec 10 06:55:46 host sshd[242]: Failed password for …")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = Parser(description="Investigate an sshd log, and record the investigation.")
    default = os.environ.get("INVESTIGATION_URL", "sqlite:///ssh-bruteforce.db")
    parser.add_argument("log", metavar="LOGFILE", type=Path, help="of syslog, or of journalctl -o short-iso")
    parser.add_argument("--db", metavar="URL", default=default, help="where to record it (%(default)s)")
    parser.add_argument(
        "--threshold", metavar="N", type=positive, default=5, help="failures of an attacker (%(default)s)"
    )
    parser.add_argument("--key", help="names the investigation: one that is finished is shown, not run again")
    options = parser.parse_args(arguments)
    try:
        path = recognise(parser, options.log).resolve()
        with InvestigationSDK(options.db, auto_migrate=True) as sdk:
            investigation_id = asyncio.run(investigate(sdk, path, options.threshold, options.key))
            return 0 if print_summary(sdk, investigation_id) else 1
    except (InvestigationError, OSError, ValueError) as error:
        parser.error(shown(error))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
