"""The webhook: a receiver on this machine checks signatures, fails on purpose, and is slow."""

import base64
import hashlib
import hmac
import http.server
import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from investigation_sdk.errors import ConfigurationError
from investigation_sdk.telemetry.monitor import Alert, Severity, WebhookSink

SECRET = bytes(range(32))
ALERT = Alert(
    key="stuck:1",
    rule="stuck",
    state="firing",
    severity=Severity.WARNING,
    message="Investigation 1 is stuck.",
    since=datetime(2026, 1, 2, tzinfo=UTC),
)


class Receiver(http.server.ThreadingHTTPServer):
    """Answers with the next of `answers`, else 204; keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.paths: list[str] = []
        self.got: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/alerts?token=s3cret"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        status = self.server.answers.pop(0) if self.server.answers else 204
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on stderr."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(30)


def sink(receiver: Receiver, pauses: list[float]) -> WebhookSink:
    return WebhookSink(receiver.url, SECRET, sleep=pauses.append, timeout=30)


def test_it_is_signed_as_the_standard_says(receiver: Receiver) -> None:
    sink(receiver, []).send(ALERT)
    ((headers, body),) = receiver.got
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["content-type"] == "application/json"
    assert Alert.model_validate_json(body) == ALERT
    assert json.loads(body)["since"] == "2026-01-02T00:00:00Z"


@pytest.mark.parametrize("failures", [[500], [503, 429, 502], [0, 0, 408]])
def test_what_may_pass_is_tried_again_with_the_same_id(receiver: Receiver, failures: list[int]) -> None:
    receiver.answers = list(failures)
    pauses: list[float] = []
    sink(receiver, pauses).send(ALERT)
    assert len(receiver.got) == len(failures) + 1
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len(pauses) == len(failures)
    for n, pause in enumerate(pauses):
        assert 0.5 * 2**n <= pause <= 2**n


def test_what_will_not_pass_is_given_up_and_says_so(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.answers = [404]
    pauses: list[float] = []
    sink(receiver, pauses).send(ALERT)
    assert (len(receiver.got), pauses) == (1, [])
    assert "The alert stuck:1 could not be posted to http://127.0.0.1" in caplog.text
    assert caplog.text.rstrip().endswith(f":{receiver.server_address[1]}: status 404.")
    receiver.answers = [500] * 6
    sink(receiver, pauses).send(ALERT)
    assert len(receiver.got) == 7
    assert "s3cret" not in caplog.text


def test_a_redirect_is_not_followed(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.answers = [302]
    sink(receiver, []).send(ALERT)
    assert len(receiver.got) == 1
    assert "status 302" in caplog.text


def test_nobody_there(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    pauses: list[float] = []
    WebhookSink("http://127.0.0.1:9/x", SECRET, tries=3, sleep=pauses.append).send(ALERT)
    assert len(pauses) == 2
    assert "ConnectError" in caplog.text


def test_secrets_are_checked_and_shown_nowhere() -> None:
    made = WebhookSink("https://user:pw@host/path?key=abc", "whsec_" + base64.b64encode(SECRET).decode())
    assert repr(made) == "<WebhookSink https://host>"
    for secret, message in (("short", "less than 24 bytes"), ("whsec_%%%", "no base64")):
        with pytest.raises(ConfigurationError, match=message) as raised:
            WebhookSink("https://host", secret)
        assert secret not in str(raised.value)
    with pytest.raises(ConfigurationError, match="begins with http"):
        WebhookSink("ftp://host", SECRET)


def test_no_part_of_the_url_that_may_be_a_secret_is_logged(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor by httpx, nor by what it uses."""
    caplog.set_level(logging.DEBUG)
    port = receiver.server_address[1]
    receiver.answers = [204, 404]
    made = WebhookSink(f"http://us%40er:PWSECRET@127.0.0.1:{port}/T0/PATHSECRET?token=QSECRET#FSECRET", SECRET)
    made.send(ALERT)
    made.send(ALERT)
    assert receiver.paths == ["/T0/PATHSECRET?token=QSECRET"] * 2
    assert receiver.got[0][0]["authorization"] == "Basic " + base64.b64encode(b"us@er:PWSECRET").decode()
    assert receiver.got[0][0]["host"] == f"127.0.0.1:{port}"
    said = caplog.text + repr(made) + "".join(repr(record.args) for record in caplog.records)
    assert f"HTTP Request: POST http://127.0.0.1:{port} " in said
    assert "SECRET" not in said
    assert base64.b64encode(b"us@er:PWSECRET").decode() not in said


@pytest.mark.parametrize(
    "url",
    [
        "http://exa mple/QSECRET",
        "http://host:99999/QSECRET",
        "http://[::1/QSECRET",
        "https:///QSECRET",
        "http://host:1x/QSECRET",
        "QSECRET",
    ],
)
def test_what_is_no_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="the URL of a WebhookSink") as raised:
        WebhookSink(url, SECRET)
    assert "QSECRET" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
