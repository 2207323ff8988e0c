"""The pure parts: durations, times, widths, and what is done to text before it is printed."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from investigation_sdk.cli.out import Column, _fitted
from investigation_sdk.cli.text import ago, arguments, duration, error_text, in_a_line, iso, json_line, moment, spoken
from investigation_sdk.engine.shell import command_line, visible
from investigation_sdk.storage.codec import LargePayload
from investigation_sdk.storage.tags import Tagged

NOW = datetime(2026, 11, 25, 10, 18, 53, 71_999, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, ""),
        (0, "0ms"),
        (999, "999ms"),
        (1000, "1.0s"),
        (59_949, "59.9s"),
        (59_950, "1m00s"),
        (61_000, "1m01s"),
        (3_599_400, "59m59s"),
        (3_599_500, "1h00m"),
        (86_399_000, "23h59m"),
        (86_400_000, "1d00h"),
        (90_000_000_000, "1041d16h"),
    ],
)
def test_duration(ms: float | None, text: str) -> None:
    assert duration(ms) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h"),
        (86399, "23h"),
        (86400, "1d"),
        (86400 * 400, "400d"),
    ],
)
def test_ago(seconds: int, text: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text


def test_times_are_in_utc() -> None:
    elsewhere = NOW.astimezone(datetime.fromisoformat("2026-11-25T00:00:00+05:30").tzinfo)
    assert iso(elsewhere) == "2026-11-25T10:18:53.071Z"
    assert spoken(elsewhere) == "2026-11-25 10:18:53 UTC"
    assert iso(None) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        (" 30 m ", NOW - timedelta(minutes=30)),
        ("12h", NOW - timedelta(hours=12)),
        ("7d", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(weeks=2)),
        ("999999999w", datetime.min.replace(tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T10:00", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20T10:00Z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20T10:00+02:00", datetime(2026, 11, 20, 8, tzinfo=UTC)),
    ],
)
def test_moment(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "d", "7", "7 y", "-7d", "yesterday", "2026-13-01", "\u0667d"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="is no time: write 90s, 30m, 12h, 7d or 2w"):
        moment(text, NOW)


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_visible_text_has_one_line_and_no_control_characters(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert visible(shown) == shown
    assert shown == text or not text.isprintable()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_is_ascii_in_one_line_and_loses_nothing(value: object) -> None:
    text = json_line(value)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == value
    assert in_a_line(value).isprintable()


def test_nothing_that_is_no_json_is_printed_as_json() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        json_line(float("nan"))


def test_payloads_in_a_line() -> None:
    large = LargePayload("0" * 64, 100_002)
    assert in_a_line(None) == ""
    assert in_a_line("a\nb") == "a\\nb"
    assert in_a_line({"a": [1, None, "é"]}) == '{"a": [1, null, "é"]}'
    assert in_a_line(large) == "(100,002 bytes; in full: --json)"
    assert in_a_line({"x": large}) == '{"x": "(100,002 bytes; in full: --json)"}'
    assert arguments({"ip": "10.0.0.1", "tries": 3, "n": {"a": 1}, "x": large}) == (
        "ip='10.0.0.1', tries=3, n={\"a\": 1}, x=(100,002 bytes; in full: --json)"
    )
    assert error_text({"type": "ValueError", "message": "no\x1b", "traceback": "…"}) == "ValueError: no\\x1b"
    assert error_text({"message": ""}) == ""
    assert error_text("text") == "text"


def test_a_command_is_quoted_and_says_no_secret() -> None:
    url = "postgresql://me:s3cret@host/db?password=s3cret"
    assert command_line("show", "a b;rm", url=url) == (
        "investigate show 'a b;rm' --db 'postgresql://me:***@host/db?password=***'"
    )
    assert command_line("ls") == "investigate ls"


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(0, 3)), min_size=1, max_size=10),
    st.integers(20, 200),
)
def test_columns_fit_where_they_can(columns: list[tuple[int, int]], width: int) -> None:
    made = [Column("x", bends=bends) for _, bends in columns]
    natural = [size for size, _ in columns]
    widths = _fitted(natural, made, width)
    gaps = 2 * (len(columns) - 1)
    least = sum(size if not bends else min(size, 8) for size, bends in columns) + gaps
    assert all(got <= size for got, size in zip(widths, natural, strict=True))
    assert all(got == size for got, (size, bends) in zip(widths, columns, strict=True) if not bends)
    if sum(natural) + gaps <= width:
        assert widths == natural
    if least <= width:
        assert sum(widths) + gaps <= max(width, least), "nothing is wider than the terminal"


def test_what_is_masked_or_of_a_class_is_said_as_people_say_it() -> None:
    assert in_a_line({"token": Tagged("masked", "", {})}) == '{"token": "(masked)"}'
    assert in_a_line(Tagged("too_large", "", {})) == "(too large)"
    assert in_a_line(Tagged("enum", "cases.Level", "high")) == "cases.Level(high)"
    assert arguments({"token": Tagged("masked", "", {}), "level": 3}) == "token=(masked), level=3"
