"""The example that investigates an sshd log: on the real log, and on logs in which somebody gets in."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from investigation_sdk import InvestigationSDK

EXAMPLE = Path(__file__).parents[2] / "examples" / "ssh_bruteforce.py"
PHASES = ["intake", "attackers", "accounts", "logins", "verdict"]
ATTACKER, OFFICE, HOME = "203.0.113.9", "198.51.100.7", "2001:db8::7"


@pytest.fixture(scope="module")
def example(load_example):
    return load_example("ssh_bruteforce")


def failed(source, account="root", times=1, *, known=True):
    who = account if known else f"invalid user {account}"
    return [f"Failed password for {who} from {source} port 4 ssh2"] * times


def accepted(source, account="root", method="password"):
    suffix = ": ED25519 SHA256:abc" if method == "publickey" else ""
    return [f"Accepted {method} for {account} from {source} port 4 ssh2{suffix}"]


@pytest.fixture
def write(tmp_path):
    """Write messages, a second apart, as sshd's lines."""

    def write(*messages):
        path = tmp_path / "auth.log"
        heads = (
            f"Dec 10 {n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02} gate sshd[7]: " for n in range(len(messages))
        )
        path.write_text("".join(f"{head}{message}\n" for head, message in zip(heads, messages, strict=True)))
        return path

    return write


@pytest.fixture
def investigate(example, sqlite_url, capsys):
    """Run the command; returns its exit status, stdout and stderr."""

    def run(path, *arguments, url=sqlite_url):
        status = example.main([str(path), "--db", url, *arguments])
        return status, *capsys.readouterr()

    return run


def recorded(url):
    with InvestigationSDK(url) as sdk:
        [record] = sdk.sync.list(investigation_type="ssh_bruteforce")
        return record, list(sdk.sync.phases(record.id)), list(sdk.sync.tools(record.id, limit=1000))


def logins(url):
    return [(one["kind"], one["account"], one["source"]) for one in recorded(url)[0].result["logins"]["top"]]


def test_the_real_log(investigate, real_data, awk, sqlite_url):
    path = real_data("openssh_2k.log")
    status, out, err = investigate(path)
    assert status == 0
    assert "Verdict: attacked" in out
    assert [line.split(":")[0] for line in err.splitlines()] == PHASES
    result = recorded(sqlite_url)[0].result

    repeats = "n = match($0, /repeated [0-9]+ times/) ? substr($0, RSTART + 9) + 0 : 1;"
    source = 'for (i = 1; i <= NF; i++) if ($i == "port") c[$(i - 1)] += n'
    attempts = awk(path, f"/Failed [a-z]+ for/ {{ {repeats} {source} }}")
    top = {one["source"]: one["attempts"] for one in result["sources"]["top"]}
    assert list(top.values()) == sorted(attempts.values(), reverse=True)[:10]
    assert top.items() <= attempts.items()
    assert result["sources"]["failed"] == len(attempts)
    assert f"{len(attempts)} failed {sum(attempts.values())} times" in out

    # No login ends a row here, so a source attacks that failed five times, or guessed two names.
    pair = 'sub(/.*: Invalid user /, ""); sub(/ from /, "|"); sub(/[^0-9.]*$/, ""); c[$0]++'
    names = awk(path, f"/: Invalid user/ {{ {pair} }}")
    guessed = Counter(name.split("|")[1] for name in names)
    attackers = {name for name, count in attempts.items() if count >= 5} | {
        n for n, count in guessed.items() if count > 1
    }
    assert result["sources"]["attack"] == len(attackers)

    warnings = awk(path, '/BREAK-IN/ { c["all"]++ }')["all"]
    assert result["mapping_warnings"]["warnings"] == warnings
    assert f"{warnings} warnings" in out
    [login] = awk(path, '/Accepted/ { c[$9 " " $11]++ }')
    assert logins(sqlite_url) == [("ordinary", *login.split())]
    assert login.split()[1] not in attempts
    busiest = awk(path, f"/Failed [a-z]+ for/ {{ {repeats} c[substr($3, 1, 2)] += n }}")
    assert result["busiest_hour"] == {
        "hour": f"Dec 10 {max(busiest, key=busiest.get)}",
        "attempts": max(busiest.values()),
    }
    assert result["evidence"]["bytes"] == path.stat().st_size


def test_everything_is_in_the_record(investigate, write, sqlite_url):
    path = write(*failed(ATTACKER, times=9), *accepted(OFFICE, "ana"), "Connection closed by 192.0.2.1 [preauth]")
    assert investigate(path)[0] == 0
    record, phases, tools = recorded(sqlite_url)
    assert record.status == "completed"
    assert [(phase.phase_name, phase.status) for phase in phases] == [(name, "completed") for name in PHASES]
    assert {call.status for call in tools} == {"completed"}
    called = Counter(call.tool_name for call in tools)
    assert called == dict.fromkeys(
        [
            "fingerprint",
            "read_log",
            "rank_sources",
            "find_probes",
            "mapping_warnings",
            "rank_accounts",
            "hourly",
            "trace_logins",
            "check_login",
            "judge",
        ],
        1,
    )
    assert not any({"tally", "progress", "wanted"} & call.input_parameters.keys() for call in tools)
    by_name = {call.tool_name: call for call in tools}
    assert by_name["rank_sources"].output_result["items"][0]["source"] == ATTACKER
    assert by_name["find_probes"].output_result["top"] == [{"source": "192.0.2.1", "connections": 1}]
    with InvestigationSDK(sqlite_url) as sdk:
        assert sdk.sync.verify(record.id).ok


@pytest.mark.parametrize(
    ("messages", "kind", "verdict"),
    [
        # guessed it at last
        ([*failed(ATTACKER, times=5), *accepted(ATTACKER)], "breach", "breached"),
        ([*failed(ATTACKER, times=500), *accepted(ATTACKER, "admin", "publickey")], "breach", "breached"),
        # two names that do not exist, then one that does
        (
            [
                *failed(ATTACKER, "oracle", known=False),
                *failed(ATTACKER, "test", known=False),
                *accepted(ATTACKER, "ana"),
            ],
            "breach",
            "breached",
        ),
        (["Invalid user a from 1.1.1.1", "Invalid user b from 1.1.1.1", *accepted("1.1.1.1")], "breach", "breached"),
        (
            [
                *failed(ATTACKER),
                f"message repeated 4 times: [ {failed(ATTACKER)[0]}]",
                *accepted(ATTACKER),
            ],
            "breach",
            "breached",
        ),
        # the same source in another writing
        ([*failed("::ffff:192.0.2.7", times=5), *accepted("192.0.2.7")], "breach", "breached"),
        ([*failed("2001:DB8::0:9", times=5), *accepted("2001:db8::9")], "breach", "breached"),
        # got in first, and attacked from there afterwards
        ([*accepted(ATTACKER), *failed(ATTACKER, times=5)], "attacker", "breached"),
        ([*failed(ATTACKER, times=4), *accepted(ATTACKER)], "after-failures", "quiet"),
        (["Invalid user anna from 1.1.1.1", *accepted("1.1.1.1", "ana")], "after-failures", "quiet"),
        # guessed from elsewhere, used from here
        ([*failed(ATTACKER, times=9), *accepted(OFFICE)], "attacked-account", "attacked"),
        ([*failed(ATTACKER, times=9), *accepted(OFFICE, "root", "publickey")], "ordinary", "attacked"),
        ([*failed(ATTACKER, "admin", times=9), *accepted(OFFICE)], "ordinary", "attacked"),
        ([*accepted(OFFICE), *failed(ATTACKER, times=9)], "ordinary", "attacked"),
        # an attack that is spread out
        (
            [*(line for n in range(5) for line in failed(f"10.0.0.{n}")), *accepted(OFFICE, "ana")],
            "ordinary",
            "attacked",
        ),
        ([*(line for n in range(4) for line in failed(f"10.0.0.{n}")), *accepted(OFFICE, "ana")], "ordinary", "quiet"),
        # people mistype, and are no attackers for it, however long the log is
        ([*failed(OFFICE, "ana", 3), *accepted(OFFICE, "ana")] * 50, "after-failures", "quiet"),
        # a name that poses as a login from elsewhere
        (
            [*failed(ATTACKER, f"x from {OFFICE} port 4 ssh2", 9, known=False), *accepted(OFFICE)],
            "ordinary",
            "attacked",
        ),
    ],
)
def test_did_anybody_get_in(investigate, write, sqlite_url, messages, kind, verdict):
    status, out, _ = investigate(write(*messages))
    assert status == (1 if verdict == "breached" else 0)
    assert f"Verdict: {verdict}\n" in out
    assert [found[0] for found in logins(sqlite_url)] == [kind]


def test_the_worst_logins_come_first_and_all_are_checked(investigate, write, sqlite_url):
    everyday = [line for number in range(30) for line in accepted(OFFICE, f"user{number}")]
    path = write(
        *everyday, *failed(HOME, "bo"), *accepted(HOME, "bo"), *failed(ATTACKER, times=50), *accepted(ATTACKER)
    )
    status, out, _ = investigate(path)
    assert status == 1
    assert logins(sqlite_url)[:2] == [("breach", "root", ATTACKER), ("after-failures", "bo", HOME)]
    assert recorded(sqlite_url)[0].result["logins"]["counts"] == {"critical": 1, "warning": 1, "info": 30}
    assert "and 22 more, in what the tools answered" in out
    assert f"critical  breach           'root' from {ATTACKER}, 1 times since Dec 10 00:01:22" in out
    assert "50 attempts in a row failed from there; then this was accepted" in out
    assert Counter(call.tool_name for call in recorded(sqlite_url)[2])["check_login"] == 32


def test_a_quiet_log(investigate, write):
    status, out, _ = investigate(write(*accepted(OFFICE, "ana"), "Server listening on 0.0.0.0 port 22."))
    assert status == 0
    assert "Verdict: quiet" in out
    assert "Sources: 0 failed 0 times, 0 of them attack" in out


def test_the_threshold(investigate, write):
    path = write(*failed(ATTACKER, times=5), *accepted(ATTACKER))
    assert investigate(path, "--threshold", "6")[0] == 0
    assert investigate(path, "--threshold", "5")[0] == 1


def test_an_iso_log(investigate, tmp_path):
    path = tmp_path / "journal.log"
    lines = [f"2024-12-10T0{n}:55:46+0800 gate sshd-session[7]: {failed(ATTACKER)[0]}\n" for n in range(6)]
    path.write_text("-- Boot 3f2a --\n" + "".join(lines))
    status, out, _ = investigate(path)
    assert status == 0
    assert "7 lines, 6 of sshd, on gate" in out
    assert f"2024-12-10T00:55:46+0800  2024-12-10T05:55:46+0800  {ATTACKER}" in out


def test_hostile_lines_are_shown_harmless(investigate, tmp_path, sqlite_url):
    path = tmp_path / "auth.log"
    head = b"Dec 10 06:55:46 gate\x1b]0;evil\x07 sshd[7]: "
    names = [b"\x1b[2J", b"caf\xe9", b" 0101", b"", b"a\0b", b"{account}", b"%s" * 50, "\u202e".encode(), b"x" * 9000]
    lines = [head + b"Failed password for invalid user " + name + b" from 192.0.2.1 port 5 ssh2" for name in names]
    path.write_bytes(b"\r\n".join([*lines, bytes(range(256)), b"z" * 100_000, head + b"Accepted \xff\xff", b""]))
    status, out, err = investigate(path)
    assert status == 0
    assert not any(ord(c) < 32 and c != "\n" for c in out + err)
    assert "\u202e" not in out
    for name in ("'\\x1b[2J'", "'caf\\xe9'", "' 0101'", "''", "'a\\x00b'", "'{account}'"):
        assert name in out
    result = recorded(sqlite_url)[0].result
    assert result["intake"]["too_long"] == 1
    assert result["sources"]["top"][0]["attempts"] == len(names)
    assert result["accounts"]["tried"] == len(names)


def test_a_log_that_grows_and_one_that_is_cut(example, investigate, write, monkeypatch, sqlite_url, capsys):
    path = write(*failed(ATTACKER, times=5), *accepted(OFFICE, "ana"))
    read = example.count

    def growing(*arguments):
        read(*arguments)
        with path.open("a") as file:
            file.write("Dec 10 09:00:00 gate sshd[7]: " + accepted(ATTACKER)[0] + "\n")

    monkeypatch.setattr(example, "count", growing)
    status, out, _ = investigate(path)
    assert status == 0
    assert "Logins: 1 accepted" in out

    def cut(*arguments):
        read(*arguments)
        path.write_text("")

    monkeypatch.setattr(example, "count", cut)
    with pytest.raises(SystemExit) as stopped:
        example.main([str(path), "--db", sqlite_url, "--key", "cut"])
    assert stopped.value.code == 2
    assert f"{path} was changed while it was read: 2 of the logins are not in it any more" in capsys.readouterr().err
    with InvestigationSDK(sqlite_url) as sdk:
        record = sdk.sync.find(key="cut", investigation_type="ssh_bruteforce")
        assert record is not None
        assert record.status == "failed"


def test_more_sources_than_are_kept_do_not_hide_who_got_in(example, load_example, investigate, write, monkeypatch):
    log = load_example("_sshd_log")
    monkeypatch.setattr(log, "KEEP", 20)
    noise = [line for n in range(200) for line in failed(f"10.0.0.{n}", f"u{n}", 7, known=False)]
    status, out, _ = investigate(write(*failed(ATTACKER, times=5), *noise, *accepted(ATTACKER)))
    assert status == 1
    assert "were forgotten: the counts are at least" in out
    assert f"critical  breach           'root' from {ATTACKER}" in out


def test_results_stay_small_whatever_is_found(investigate, write, sqlite_url):
    lines = [line for n in range(3000) for line in failed(f"2001:db8::{n:x}", f"{'n' * 90}{n}", known=False)]
    assert investigate(write(*lines))[0] == 0
    record, _, tools = recorded(sqlite_url)
    assert record.result["sources"]["failed"] == 3000
    assert len(repr(record.result)) < 16_000
    assert all(len(repr(call.output_result)) < 64_000 for call in tools)
    [ranked] = [call.output_result for call in tools if call.tool_name == "rank_sources"]
    assert (ranked["count"], ranked["exhausted"]) == (3000, True)


def test_a_key_names_one_investigation(investigate, write):
    path = write(*failed(ATTACKER, times=5), *accepted(ATTACKER))
    status, first, _ = investigate(path, "--key", "incident-42")
    assert status == 1
    write("Server listening on 0.0.0.0 port 22.")
    status, second, err = investigate(path, "--key", "incident-42")
    assert status == 1, "what is shown is the record of then"
    assert "finished before" in err
    assert second == first


def test_a_record_that_was_tampered_with(investigate, write, sqlite_url):
    path = write(*accepted(OFFICE))
    assert investigate(path, "--key", "k")[0] == 0
    database = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    with database:
        database.execute("UPDATE investigation_events SET event_data = replace(event_data, 'root', 'ana')")
    database.close()
    status, out, _ = investigate(path, "--key", "k")
    assert status == 1
    assert "BROKEN" in out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no file"),
        (b"", "is empty"),
        (b"Dec 10 06:55:46 gate su[1]: nothing of sshd\n", "has no line of sshd, such as"),
        (bytes(range(256)) * 1000, "has no line of sshd"),
        ("Dec 10 06:55:46 gate sshd[7]: x\n".encode("utf-16"), "has no line of sshd"),
        (b"\x1f\x8b\x08\x00", "is compressed; unpack it first"),
        (b"LPKSHHRH\x00\x00", "journalctl --file"),
    ],
)
def test_a_wrong_file_makes_no_database(example, tmp_path, content, sentence, sqlite_url, capsys):
    path = tmp_path / "auth.log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        example.main([str(path), "--db", sqlite_url])
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not out
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--threshold", "0"], "'0' is not a whole number greater than 0"),
        (["--colour"], "unrecognized arguments: --colour"),
        (["--db", "carrier-pigeon://loft"], "carrier-pigeon"),
        (["--key", ""], "is not text with something in it"),
    ],
)
def test_bad_usage_is_answered_with_one_sentence(example, write, arguments, sentence, sqlite_url, capsys):
    with pytest.raises(SystemExit) as stopped:
        example.main([str(write(*failed(ATTACKER))), "--db", sqlite_url, *arguments])
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not out


def test_the_tools_are_ordinary_functions(example, write):
    path = write(*failed(ATTACKER, times=5))
    tally = example.Tally()
    said: list[float] = []
    assert example.read_log(str(path), path.stat().st_size, tally, said.append)["lines"] == 5
    assert example.fingerprint(str(path), 10)["bytes"] == 10
    [source] = example.rank_sources(tally, 5)
    assert (source["source"], source["attempts"], source["attacks"]) == (ATTACKER, 5, True)
    assert asyncio.run(example.mapping_warnings(tally))["warnings"] == 0
    assert example.judge(0, 1, 1, 5) == "attacked"


def test_as_a_command(write, tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLE, write(*failed(ATTACKER, times=5), *accepted(ATTACKER))],
        env={**os.environ, "INVESTIGATION_URL": f"sqlite:///{tmp_path / 'cases.db'}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == PHASES
    assert "Verdict: breached" in done.stdout
    assert "chain verified" in done.stdout
    assert [path.name for path in tmp_path.glob("*.db")] == ["cases.db"]
