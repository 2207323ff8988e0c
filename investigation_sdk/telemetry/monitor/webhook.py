"""Alerts by HTTP: signed, and tried again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import random
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from investigation_sdk.clock import now_us
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.ids import uuid7
from investigation_sdk.telemetry.monitor.alerts import Alert

if TYPE_CHECKING:
    import httpx

_log = logging.getLogger("investigation_sdk.alerts")
_AGAIN: Final = frozenset({408, 425, 429})
_LONGEST_PAUSE: Final = 60.0


class WebhookSink:
    """Posts each alert as JSON, signed by the Standard Webhooks scheme, so that its receiver can tell that it is ours.

    ``webhook-signature`` is ``v1,`` and the base64 of HMAC-SHA256 over ``{webhook-id}.{webhook-timestamp}.{body}``.
    What is answered with 408, 425, 429 or 5xx, or not at all, is tried again with the same id, after 1, 2, 4 … seconds
    with jitter; what is answered otherwise, but for 2xx, is given up at once. Redirects are not followed.

    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

    Args:
        url: ``http://`` or ``https://``. A user and password in it are sent as basic authentication. Of the URL, logs
            (httpx's too), errors and the repr show scheme, host and port alone.
        secret: At least 24 bytes, or their base64 with ``whsec_`` before it. It appears in no log, error or repr.
        timeout: Seconds for one try.
        tries: How many there are, the first one included.
        sleep: What waits between two tries.

    Raises:
        ConfigurationError: httpx is not installed, or the URL or the secret will not do.
    """

    def __init__(
        self,
        url: str,
        secret: str | bytes,
        *,
        timeout: float = 10.0,
        tries: int = 6,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            import httpx
        except ImportError:
            raise ConfigurationError("WebhookSink needs httpx: pip install 'investigation-sdk[webhook]'") from None
        self._where, self._target, user = _parts(url)
        self._key = _key(secret)
        self._tries = max(1, tries)
        self._sleep = sleep
        self._failures: tuple[type[Exception], ...] = (httpx.HTTPError,)
        self._make = partial(httpx.Client, timeout=timeout, follow_redirects=False, auth=user)
        self._client = self._make()
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"<WebhookSink {self._where}>"

    def send(self, alert: Alert) -> None:
        """Post it, and again while that may help."""
        id = f"msg_{uuid7()}"
        body = alert.model_dump_json().encode()
        said = ""
        for tried in range(self._tries):
            if tried:
                self._sleep(min(_LONGEST_PAUSE, 2.0 ** (tried - 1)) * random.uniform(0.5, 1.0))  # noqa: S311
            try:
                answer = self._post(body, self._headers(id, body))
            except self._failures as error:
                said = type(error).__name__
                continue
            if answer.is_success:
                return
            said = f"status {answer.status_code}"
            if answer.status_code < 500 and answer.status_code not in _AGAIN:
                break
        of = {"investigation_id": alert.investigation_id} if alert.investigation_id else {}
        _log.error("The alert %s could not be posted to %s: %s.", alert.key, self._where, said, extra=of)

    def _post(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        if self._process != os.getpid():  # a forked child does not use the parent's connections
            self._client, self._process = self._make(), os.getpid()
        # httpx logs the URL of each request, and a path or query may be a secret: it gets them beside the URL
        return self._client.post(self._where, content=body, headers=headers, extensions={"target": self._target})

    def _headers(self, id: str, body: bytes) -> dict[str, str]:
        timestamp = str(now_us() // 1_000_000)
        signed = hmac.new(self._key, b".".join((id.encode(), timestamp.encode(), body)), hashlib.sha256).digest()
        return {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }


def _parts(url: str) -> tuple[str, bytes, tuple[str, str] | None]:
    """Where to, which may be shown; path and query, and user and password, which may not."""
    import httpx

    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        raise ConfigurationError(
            "the URL of a WebhookSink is no URL: see its host, its port and its brackets"
        ) from None
    if parsed.scheme not in ("http", "https"):
        raise ConfigurationError("the URL of a WebhookSink begins with http:// or https://")
    if not parsed.host or any(sign in parsed.host for sign in " %\t\r\n"):
        raise ConfigurationError("the URL of a WebhookSink names no host that could be")
    if not 1 <= (parsed.port or 80) <= 65535:
        raise ConfigurationError("the URL of a WebhookSink has a port beyond 65535")
    user = (parsed.username, parsed.password) if parsed.userinfo else None
    where = parsed.copy_with(userinfo=b"", raw_path=b"/", fragment=None)
    return str(where).rstrip("/"), parsed.raw_path, user


def _key(secret: str | bytes) -> bytes:
    key = secret if isinstance(secret, bytes) else secret.encode()
    if key.startswith(b"whsec_"):
        try:
            key = base64.b64decode(key.removeprefix(b"whsec_"), validate=True)
        except ValueError:
            raise ConfigurationError("the secret of a WebhookSink is no base64 behind 'whsec_'") from None
    if len(key) < 24:
        raise ConfigurationError(
            "the secret of a WebhookSink has less than 24 bytes; secrets.token_bytes(32) makes one"
        )
    return key
