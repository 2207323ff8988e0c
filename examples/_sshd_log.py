"""Reads what OpenSSH writes to a log: line by line, whatever the lines hold, in bounded memory."""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from _shared import shown

LINE_LIMIT: Final = 16_384  # bytes; sshd's own lines are far shorter, and longer ones are counted, not read
NAME_LIMIT: Final = 100  # characters, as many as sshd writes of a name
KEEP: Final = 50_000  # sources, and accounts; beyond, those with the fewest attempts are forgotten
ROOM: Final = 500_000  # names of accounts and sources in all sets together

# Of syslog (Dec 10 06:55:46), or ISO as of rsyslog and journalctl -o short-iso or short-full.
HEADER: Final = re.compile(
    rb"(?:<\d{1,3}>)?"
    rb"((?:[A-Z][a-z]{2} )?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d| [A-Z]{2,5})?"
    rb"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?)"
    rb" +(\S+) sshd(?:-session|-auth)?(?:\[\d+\])?: (.*)",
    re.DOTALL,
)
REPEATED: Final = re.compile(r"message repeated (\d{1,9}) times: \[ (.*)\]", re.DOTALL)
# Who logs in chooses the name, and may choose one that looks like the rest of the line. The true address comes
# after it, so a name is taken as long as it can be, and the line has to end as sshd ends it.
_END: Final = r" from (?P<source>\S+) port \d+(?: ssh\d)?(?:: [A-Z0-9-]+ \S+.*)?$"
PATTERNS: Final = {
    "failed": ("Failed ", rf"Failed (?P<method>\S+) for (?P<unknown>i(?:nvalid|llegal) user )?(?P<account>.*){_END}"),
    "accepted": ("Accepted ", rf"Accepted (?P<method>\S+) for (?P<account>.*){_END}"),
    "unknown": ("I", r"I(?:nvalid|llegal) user (?P<account>.*) from (?P<source>\S+)(?: port \d+)?$"),
    "reverse": ("reverse mapping", r"reverse mapping checking getaddrinfo for (?P<name>\S+) \[(?P<source>\S+)\] fail"),
    "maps": ("Address ", r"Address (?P<source>\S+) maps to (?P<name>\S+), but this does not map back"),
    "nasty": ("Nasty PTR", r'Nasty PTR record "(?P<name>.*)" is set up for (?P<source>\S+), ignoring$'),
    "silent": ("Did not receive", r"Did not receive identification string from (?P<source>\S+)"),
    "protocol": ("Bad protocol", r"Bad protocol version identification '.*' from (?P<source>\S+)(?: port \d+)?$"),
    "closed": ("Connection ", r"Connection (?:closed|reset) by (?P<source>\S+)(?: port \d+)? \[preauth\]$"),
    "negotiate": ("Unable to", r"Unable to negotiate with (?P<source>\S+) port \d+: "),
}
_COMPILED: Final = [(start, kind, re.compile(text, re.DOTALL)) for kind, (start, text) in PATTERNS.items()]
KINDS: Final = {"reverse": "warning", "maps": "warning", "nasty": "warning"} | dict.fromkeys(
    ("silent", "protocol", "closed", "negotiate"), "probe"
)


class Entry(NamedTuple):
    """What one line of sshd says; `kind`: failed, accepted, unknown (account), warning, probe or other."""

    kind: str
    time: str
    host: str
    source: str = ""
    account: str = ""
    exists: bool = True  # as far as the line says
    method: str = ""
    name: str = ""  # that the source's address was said to have
    times: int = 1


def cleaned(text: str) -> str:
    """A name as it can be printed and kept."""
    return text if len(text) <= NAME_LIMIT and text.isprintable() else _cleaned(text[: NAME_LIMIT + 1])


def _cleaned(text: str) -> str:
    printable = shown(text)
    return printable if len(printable) <= NAME_LIMIT else printable[: NAME_LIMIT - 1] + "…"


@lru_cache(20_000)
def address(text: str) -> str:
    """A cleaned address in its one form; what is none, such as a host's name, as it is."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return text
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def parse(line: bytes) -> Entry | None:
    """What a line says; None where it is not a line of sshd."""
    if not (header := HEADER.match(line)):
        return None
    time, host = header[1].decode("ascii"), header[2].decode("utf-8", "backslashreplace")
    message = header[3].rstrip(b"\r\n").decode("utf-8", "backslashreplace")
    times = 1
    if message.startswith("message repeated ") and (repeated := REPEATED.fullmatch(message)):
        times, message = int(repeated[1]), repeated[2]
    for start, kind, pattern in _COMPILED:
        if message.startswith(start) and (found := pattern.match(message)):
            said = found.groupdict()
            return Entry(
                KINDS.get(kind, kind),
                time,
                host,
                address(cleaned(said["source"])),
                cleaned(said.get("account") or ""),
                kind != "unknown" and not said.get("unknown"),
                said.get("method") or "",
                cleaned(said.get("name") or ""),
                times,
            )
    return Entry("other", time, host, times=times)


def lines(path: Path, size: int | None = None) -> Iterator[bytes]:
    """The lines in the first `size` bytes of a file, which may be growing; one that is too long comes as b""."""
    with path.open("rb") as file:
        left = path.stat().st_size if size is None else size
        while left > 0 and (line := file.readline(min(LINE_LIMIT, left))):
            left -= len(line)
            if len(line) == LINE_LIMIT and not line.endswith(b"\n"):
                while left > 0 and (rest := file.readline(min(LINE_LIMIT, left))):
                    left -= len(rest)
                    if rest.endswith(b"\n"):
                        break
                line = b""
            yield line


# ---- Counting ----


@dataclass(slots=True)
class Row:
    """What failed from one source in a row: a login that is accepted ends it, as it does for people who mistype."""

    failed: int = 0
    unknown: str | None = None  # an account that does not exist
    several: bool = False  # such accounts

    def add(self, entry: Entry) -> None:
        """An attempt that failed, or an account that does not exist."""
        self.failed += entry.times if entry.kind == "failed" else 0
        if not entry.exists:
            self.several = self.several or self.unknown not in (None, entry.account)
            self.unknown = entry.account

    def __str__(self) -> str:
        more = ", with several accounts that do not exist" if self.several else ""
        return f"{self.failed} attempts in a row failed from there{more}"

    def worse(self, other: "Row") -> "Row":
        """The worse of two."""
        return Row(max(self.failed, other.failed), self.unknown or other.unknown, self.several or other.several)


@dataclass(slots=True)
class Source:
    """One address."""

    first: str = ""
    last: str = ""
    failed: int = 0
    accepted: int = 0
    warnings: int = 0
    probes: int = 0
    name: str = ""
    accounts: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)  # those of them that do not exist
    row: Row = field(default_factory=Row)
    worst: Row = field(default_factory=Row)

    @property
    def size(self) -> int:
        """How much it holds of the room for names."""
        return len(self.accounts) + len(self.unknown)

    @property
    def weight(self) -> int:
        """Those with the least are forgotten first."""
        return self.failed + self.accepted + len(self.unknown)


@dataclass(slots=True)
class Account:
    """One account that was tried."""

    exists: bool = True
    failed: int = 0
    sources: set[str] = field(default_factory=set)

    @property
    def size(self) -> int:
        """How much it holds of the room for names."""
        return len(self.sources)

    @property
    def weight(self) -> int:
        """Those with the least are forgotten first."""
        return self.failed


class Tally:
    """What a log adds up to. Sums are exact; of sources and accounts the largest are kept.

    The logins that were accepted are all kept: only who gets in can make them many.
    """

    def __init__(self) -> None:
        self.lines = self.foreign = self.too_long = 0
        self.first = self.last = ""
        self.counts = Counter[str]()
        self.hosts: set[str] = set()
        self.hours = Counter[str]()
        self.sources: dict[str, Source] = {}
        self.accounts: dict[str, Account] = {}
        self.logins: set[tuple[str, str]] = set()
        self.forgotten = 0
        self._room = ROOM

    def add(self, entry: Entry) -> None:
        """Count one line of sshd."""
        self.first = self.first or entry.time
        self.last = entry.time
        self.counts[entry.kind] += entry.times
        if len(self.hosts) < KEEP:
            self.hosts.add(entry.host)
        if entry.kind == "other":
            return
        source = self._source(entry.source)
        source.first = source.first or entry.time
        source.last = entry.time
        if entry.kind == "warning":
            source.warnings += entry.times
            source.name = entry.name
        elif entry.kind == "probe":
            source.probes += entry.times
        elif entry.kind == "accepted":
            source.accepted += entry.times
            source.row = Row()
            self.logins.add((entry.account, entry.source))
        else:
            self._attempt(source, entry)

    def _attempt(self, source: Source, entry: Entry) -> None:
        source.row.add(entry)
        source.worst = source.worst.worse(source.row)
        account = self._account(entry.account)
        self._put(source.accounts, entry.account)
        self._put(account.sources, entry.source)
        if not entry.exists:
            account.exists = False
            self._put(source.unknown, entry.account)
        if entry.kind == "failed":
            source.failed += entry.times
            account.failed += entry.times
            hour = entry.time[: entry.time.index(":")]
            if hour in self.hours or len(self.hours) < KEEP:
                self.hours[hour] += entry.times

    def _put(self, names: set[str], name: str) -> None:
        if name not in names and self._room:
            names.add(name)
            self._room -= 1

    def _source(self, name: str) -> Source:
        if (source := self.sources.get(name)) is None:
            if len(self.sources) >= KEEP:
                self._forget(self.sources)
            source = self.sources[name] = Source()
        return source

    def _account(self, name: str) -> Account:
        if (account := self.accounts.get(name)) is None:
            if len(self.accounts) >= KEEP:
                self._forget(self.accounts)
            account = self.accounts[name] = Account()
        return account

    def _forget(self, known: dict[str, Source] | dict[str, Account]) -> None:
        """Drop the half with the fewest attempts."""
        lightest = sorted(known, key=lambda name: known[name].weight)[: len(known) // 2]
        for name in lightest:
            self._room += known.pop(name).size
        self.forgotten += len(lightest)


def count(path: Path, size: int, tally: Tally, progress: Callable[[float], None]) -> None:
    """Count a log, and say now and then how far that is."""
    position = 0
    for line in lines(path, size):
        tally.lines += 1
        position += len(line)
        if not tally.lines % 20_000:
            progress(position / size)
        if not line:
            tally.too_long += 1
        elif entry := parse(line):
            tally.add(entry)
        else:
            tally.foreign += 1


# ---- Tracing ----

_TRACED: Final = re.compile(rb"Failed |Accepted |(?:nvalid|llegal) user ")


@dataclass(slots=True)
class Login:
    """The logins to one account from one source, and what failed before the first of them."""

    account: str
    source: str
    first: str = ""
    count: int = 0
    methods: set[str] = field(default_factory=set)
    before: Row = field(default_factory=Row)  # the worst directly before one of these logins
    ever: Row = field(default_factory=Row)  # the worst from this source
    elsewhere: int = 0  # attempts on the account that failed before the first, from other sources


def trace(path: Path, size: int, wanted: set[tuple[str, str]]) -> Iterator[Login]:
    """Read a log once more, for what it says about those who got in: exact, however much the tally forgot."""
    if not wanted:
        return
    failed_for = dict.fromkeys((account for account, _ in wanted), 0)
    failed_as = dict.fromkeys(wanted, 0)
    rows = {source: Row() for _, source in wanted}
    worst = {source: Row() for _, source in wanted}
    logins: dict[tuple[str, str], Login] = {}
    for line in lines(path, size):
        if not _TRACED.search(line) or not (entry := parse(line)):
            continue
        account, source = pair = entry.account, entry.source
        if entry.kind == "accepted" and pair in wanted:
            if (login := logins.get(pair)) is None:
                elsewhere = failed_for[account] - failed_as[pair]
                login = logins[pair] = Login(account, source, entry.time, elsewhere=elsewhere)
            login.count += entry.times
            login.methods.add(entry.method)
            login.before = login.before.worse(rows[source])
            rows[source] = Row()
        elif entry.kind in ("failed", "unknown") and source in rows:
            rows[source].add(entry)
            worst[source] = worst[source].worse(rows[source])
        if entry.kind == "failed" and account in failed_for:
            failed_for[account] += entry.times
            if pair in failed_as:
                failed_as[pair] += entry.times
    if missing := len(wanted) - len(logins):
        raise ValueError(f"{path} was changed while it was read: {missing} of the logins are not in it any more")
    for login in logins.values():
        login.ever = worst[login.source]
        yield login
