"""The reader of sshd's logs: formats, hostile lines, and bounds."""

import tracemalloc

import pytest

HEAD = b"Dec 10 06:55:46 LabSZ sshd[24200]: "
FAILED = HEAD + b"Failed password for root from 192.0.2.1 port 22 ssh2"


@pytest.fixture(scope="module")
def log(load_example):
    return load_example("_sshd_log")


def entry(log, message, head=HEAD):
    found = log.parse(head + message + b"\r\n")
    assert found is not None
    return found


def count(log, path):
    tally = log.Tally()
    log.count(path, path.stat().st_size, tally, lambda fraction: None)
    return tally


@pytest.mark.parametrize(
    ("head", "time"),
    [
        (b"Dec 10 06:55:46 LabSZ sshd[24200]: ", "Dec 10 06:55:46"),
        (b"Dec  1 06:55:46 LabSZ sshd[24200]: ", "Dec  1 06:55:46"),
        (b"<86>Dec  1 06:55:46 LabSZ sshd[24200]: ", "Dec  1 06:55:46"),
        (b"Dec 10 06:55:46.123456 LabSZ sshd[24200]: ", "Dec 10 06:55:46.123456"),
        (b"2024-12-10T06:55:46+0800 LabSZ sshd[24200]: ", "2024-12-10T06:55:46+0800"),
        (b"2024-12-10T06:55:46+08:00 LabSZ sshd-session[2]: ", "2024-12-10T06:55:46+08:00"),
        (b"2024-12-10T06:55:46.123456Z LabSZ sshd-auth[2]: ", "2024-12-10T06:55:46.123456Z"),
        (b"Tue 2024-12-10 06:55:46 CST LabSZ sshd[24200]: ", "Tue 2024-12-10 06:55:46 CST"),
        (b"2024-12-10 06:55:46 LabSZ sshd: ", "2024-12-10 06:55:46"),
    ],
)
def test_headers(log, head, time):
    found = entry(log, b"Failed password for root from 192.0.2.1 port 22 ssh2", head)
    assert (found.kind, found.time, found.source, found.account) == ("failed", time, "192.0.2.1", "root")
    tally = log.Tally()
    tally.add(found)
    assert tally.hours == {time.split(":")[0]: 1}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"-- Boot 3f2a --",
        b"Dec 10 06:55:46 LabSZ su[1]: FAILED su for root by me",
        b"Dec 10 06:55:46 LabSZ evil: sshd[1]: Accepted password for root from 192.0.2.1 port 22 ssh2",
        b"Dec 10 06:55:46 LabSZ not-sshd[1]: Accepted password for root from 192.0.2.1 port 22 ssh2",
        b"sshd[1]: Accepted password for root from 192.0.2.1 port 22 ssh2",
        bytes(range(256)),
    ],
)
def test_lines_that_are_not_of_sshd(log, line):
    assert log.parse(line) is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"Failed password for root from 1.2.3.4 port 5 ssh2", ("failed", "1.2.3.4", "root", True, "password")),
        (b"Failed password for root from 1.2.3.4 port 5", ("failed", "1.2.3.4", "root", True, "password")),
        (b"Failed none for invalid user 0 from 1.2.3.4 port 5 ssh2", ("failed", "1.2.3.4", "0", False, "none")),
        (b"Failed password for illegal user x from 1.2.3.4 port 5 ssh2", ("failed", "1.2.3.4", "x", False, "password")),
        (
            b"Failed keyboard-interactive/pam for root from 1.2.3.4 port 5 ssh2",
            ("failed", "1.2.3.4", "root", True, "keyboard-interactive/pam"),
        ),
        (
            b"Failed publickey for root from 1.2.3.4 port 5 ssh2: RSA SHA256:abc",
            ("failed", "1.2.3.4", "root", True, "publickey"),
        ),
        (
            b"Accepted publickey for core from 2001:db8::1 port 5 ssh2: ED25519 SHA256:abc/+",
            ("accepted", "2001:db8::1", "core", True, "publickey"),
        ),
        (b"Invalid user  0101 from 1.2.3.4", ("unknown", "1.2.3.4", " 0101", False, "")),
        (b"Invalid user  from 1.2.3.4 port 5", ("unknown", "1.2.3.4", "", False, "")),
        (b"Illegal user x from 1.2.3.4", ("unknown", "1.2.3.4", "x", False, "")),
        (b"Did not receive identification string from 1.2.3.4 port 5", ("probe", "1.2.3.4", "", True, "")),
        (b"Bad protocol version identification 'GET /' from 1.2.3.4 port 5", ("probe", "1.2.3.4", "", True, "")),
        (b"Connection closed by 1.2.3.4 port 5 [preauth]", ("probe", "1.2.3.4", "", True, "")),
        (b"Unable to negotiate with 1.2.3.4 port 5: no matching cipher", ("probe", "1.2.3.4", "", True, "")),
        (b"Connection closed by 1.2.3.4 port 5", ("other", "", "", True, "")),
        (b"pam_unix(sshd:session): session opened for user fztu by (uid=0)", ("other", "", "", True, "")),
        (b"Failed password for root", ("other", "", "", True, "")),
        (b"", ("other", "", "", True, "")),
    ],
)
def test_messages(log, message, expected):
    found = entry(log, message)
    assert (found.kind, found.source, found.account, found.exists, found.method) == expected


@pytest.mark.parametrize(
    "message",
    [
        b"reverse mapping checking getaddrinfo for evil.example [1.2.3.4] failed - POSSIBLE BREAK-IN ATTEMPT!",
        b"reverse mapping checking getaddrinfo for evil.example [1.2.3.4] failed.",
        b"Address 1.2.3.4 maps to evil.example, but this does not map back to the address - POSSIBLE BREAK-IN ATTEMPT!",
        b'Nasty PTR record "evil.example" is set up for 1.2.3.4, ignoring',
    ],
)
def test_names_that_do_not_lead_back(log, message):
    found = entry(log, message)
    assert (found.kind, found.source, found.name) == ("warning", "1.2.3.4", "evil.example")


def test_a_message_that_is_repeated(log):
    found = entry(log, b"message repeated 5 times: [ Failed password for root from 1.2.3.4 port 5 ssh2]")
    assert (found.kind, found.source, found.times) == ("failed", "1.2.3.4", 5)
    found = entry(
        log, b"message repeated 99999999999999999999 times: [ Failed password for root from 1.2.3.4 port 5 ssh2]"
    )
    assert (found.kind, found.times) == ("other", 1)


@pytest.mark.parametrize(
    "name",
    [
        b"root from 203.0.113.9 port 22 ssh2",
        b"x from 203.0.113.9 port 22 ssh2: RSA SHA256:abc",
        b"x from 203.0.113.9",
        b"a b  c ",
        b"from",
        b" from 1.1.1.1 from ",
        b"invalid user x",
        b"[preauth]",
        b"Accepted password for root",
    ],
)
def test_a_name_cannot_pose_as_the_address(log, name):
    for message in (
        b"Failed password for invalid user %b from 192.0.2.1 port 5 ssh2",
        b"Invalid user %b from 192.0.2.1",
    ):
        found = entry(log, message % name)
        assert (found.source, found.exists) == ("192.0.2.1", False)
        assert found.account == name.decode()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9", "caf\\xe9"),
        ("größe".encode(), "größe"),
        (b"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        (b"nul\0", "nul\\x00"),
        (b"a\rb\nc", "a\\rb\\nc"),
        ("\u202egnp".encode(), "\\u202egnp"),
        (b"x" * 5000, "x" * 99 + "…"),
    ],
)
def test_odd_names_are_printable_and_short(log, name, shown):
    found = entry(log, b"Invalid user %b from 192.0.2.1" % name)
    assert (found.account, found.source) == (shown, "192.0.2.1")


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("host.example", "host.example"),
        ("UNKNOWN", "UNKNOWN"),
        ("1.2.3.4.5", "1.2.3.4.5"),
    ],
)
def test_addresses_have_one_form(log, text, one):
    assert entry(log, f"Failed password for root from {text} port 1 ssh2".encode()).source == one


def test_lines_that_are_too_long_are_counted_and_not_kept(log, tmp_path):
    path = tmp_path / "log"
    path.write_bytes(FAILED + b"\n" + b"x" * 100_000 + b"\n" + FAILED + b"\n" + b"y" * 100_000)
    tally = count(log, path)
    assert (tally.lines, tally.too_long, tally.counts["failed"]) == (4, 2, 2)


def test_what_is_appended_meanwhile_is_not_read(log, tmp_path):
    path = tmp_path / "log"
    path.write_bytes(FAILED + b"\n")
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write((FAILED + b"\n") * 1000)
    assert len(list(log.lines(path, size))) == 1


def test_the_last_line_may_end_without_a_newline(log, tmp_path):
    path = tmp_path / "log"
    path.write_bytes(FAILED)
    assert count(log, path).counts["failed"] == 1


def test_memory_is_bounded_whatever_the_length(log, tmp_path):
    path = tmp_path / "log"
    with path.open("wb") as file:
        for number in range(25_000):
            file.write(HEAD + b"Failed password for root from 192.0.2.%d port 22 ssh2\n" % (number % 200))
    tracemalloc.start()
    tally = count(log, path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tally.counts["failed"] == 25_000
    assert path.stat().st_size > 2_000_000
    assert peak < 500_000


def test_sources_without_end_are_forgotten_but_the_heavy_ones(log, tmp_path, monkeypatch):
    monkeypatch.setattr(log, "KEEP", 100)
    monkeypatch.setattr(log, "ROOM", 1000)
    path = tmp_path / "log"
    with path.open("wb") as file:
        for number in range(5000):
            host = b"2001:db8::%x" % number
            file.write(HEAD + b"Failed password for invalid user u%d from %b port 1 ssh2\n" % (number, host))
            if not number % 10:
                file.write(FAILED + b"\n")
    tally = count(log, path)
    assert tally.counts["failed"] == 5500, "sums are exact"
    assert len(tally.sources) <= 100
    assert len(tally.accounts) <= 100
    assert sum(len(source.accounts) + len(source.unknown) for source in tally.sources.values()) <= 1000
    assert tally.forgotten > 0
    assert len(tally.sources["2001:db8::1387"].accounts) == 1, "the room of those that were forgotten is free again"
    assert tally.sources["192.0.2.1"].failed == 500
    assert tally.accounts["root"].failed == 500


def test_the_room_for_names_ends(log, monkeypatch):
    monkeypatch.setattr(log, "ROOM", 10)
    tally = log.Tally()
    for number in range(100):
        tally.add(entry(log, b"Invalid user u%d from 192.0.2.1" % number))
    assert len(tally.sources["192.0.2.1"].accounts) + len(tally.sources["192.0.2.1"].unknown) <= 10
    assert tally.sources["192.0.2.1"].worst.several


def test_a_row_of_failures_ends_with_a_login(log):
    tally = log.Tally()
    accepted = b"Accepted password for root from 192.0.2.1 port 22 ssh2"
    for message in [FAILED[len(HEAD) :]] * 3 + [accepted] + [FAILED[len(HEAD) :]] * 2 + [accepted]:
        tally.add(entry(log, message))
    source = tally.sources["192.0.2.1"]
    assert (source.failed, source.worst.failed, source.row.failed, source.accepted) == (5, 3, 0, 2)


def test_what_was_tried_elsewhere_is_told_from_what_was_tried_here(log, tmp_path):
    path = tmp_path / "log"
    here, there = FAILED, FAILED.replace(b"192.0.2.1", b"203.0.113.9")
    accepted = HEAD + b"Accepted password for root from 192.0.2.1 port 22 ssh2"
    path.write_bytes(b"\n".join([*[here] * 3, *[there] * 7, accepted, *[there] * 5, here, accepted]))
    [login] = log.trace(path, path.stat().st_size, {("root", "192.0.2.1")})
    assert (login.count, login.before.failed, login.ever.failed, login.elsewhere) == (2, 3, 3, 7)


def test_the_real_log_against_awk(log, real_data, awk):
    """Each figure once more by a method that shares nothing with the reader."""
    path = real_data("openssh_2k.log")
    tally = count(log, path)
    assert tally.lines == len(path.read_bytes().splitlines()) == 2000
    assert tally.foreign == tally.too_long == 0
    repeats = "n = match($0, /repeated [0-9]+ times/) ? substr($0, RSTART + 9) + 0 : 1;"
    source = 'for (i = 1; i <= NF; i++) if ($i == "port") c[$(i - 1)] += n'
    failed = awk(path, f"/Failed [a-z]+ for/ {{ {repeats} {source} }}")
    assert {name: source.failed for name, source in tally.sources.items() if source.failed} == failed
    assert tally.counts["failed"] == sum(failed.values())

    account = 'sub(/ from [0-9.]+ port .*/, ""); sub(/.*Failed [a-z]+ for (invalid user )?/, ""); c[$0] += n'
    accounts = awk(path, f"/Failed [a-z]+ for/ {{ {repeats} {account} }}")
    assert {name: account.failed for name, account in tally.accounts.items() if account.failed} == accounts

    unknown = awk(path, '/: Invalid user/ { sub(/ from .*/, ""); sub(/.*: Invalid user /, ""); c[$0]++ }')
    assert {name for name, account in tally.accounts.items() if not account.exists} == set(unknown)
    assert tally.counts["unknown"] == sum(unknown.values())

    warned = awk(path, r'/BREAK-IN/ { sub(/.*\[/, ""); sub(/\].*/, ""); sub(/\r/, ""); c[$0]++ }')
    assert {name: source.warnings for name, source in tally.sources.items() if source.warnings} == warned
    assert {account: 1 for account, _ in tally.logins} == awk(path, "/Accepted/ { c[$9]++ }")

    said = "/Failed [a-z]+ for|: Invalid user|BREAK-IN|Connection closed|Did not receive|Accepted/"
    found = r"match($0, /[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+/); name = substr($0, RSTART, RLENGTH);"
    first = awk(path, f"{said} {{ {found} if (!(name in c)) c[name] = $3 }}")
    last = awk(path, f"{said} {{ {found} c[name] = $3 }}")
    seen = {name: (source.first[7:], source.last[7:]) for name, source in tally.sources.items()}
    assert seen == {name: (first[name], last[name]) for name in last}
