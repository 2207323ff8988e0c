"""Tickets: what lets a browser, which cannot send a header with a WebSocket, connect within a moment to watch."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import Final

from pydantic import BaseModel, ValidationError
from starlette.requests import HTTPConnection

from investigation_sdk.security.roles import Principal

SECONDS: Final = 60
"""How long a ticket can be used to connect."""

_LONGEST: Final = 8192


class _Claims(BaseModel):
    principal: Principal
    about: str
    audience: str
    expires: int


def about_many(investigation_type: str | None, user_id: str | None) -> str:
    """What a ticket for many investigations is about; no id of one is spelled so."""
    return json.dumps({"investigation_type": investigation_type, "user_id": user_id})


def mounted_at(connection: HTTPConnection) -> str:
    """The path under which the router is that answers this: that of the application, and the prefix."""
    root, path = str(connection.scope.get("root_path", "")), str(connection.scope["path"])
    within = path if path.startswith(root) else root + path
    return within.rpartition("/investigation")[0]  # no path of a ticket, or of what it opens, has it twice


class Tickets:
    """Signs and checks tickets.

    Args:
        secret: Known to all processes that serve the API, at least 32 bytes.
        audience: For which API they are good, of those that share the secret. None: for what is mounted at the path
            at which they were asked for.
    """

    def __init__(self, secret: bytes, audience: str | None = None) -> None:
        self._secret = secret
        self._audience = audience

    def audience(self, connection: HTTPConnection) -> str:
        """For whom a ticket is that is asked for, or used, over this connection."""
        return f"path {mounted_at(connection)}" if self._audience is None else f"name {self._audience}"

    def issue(self, principal: Principal, about: str, expires: int, audience: str) -> str:
        """A ticket until `expires` (seconds since 1970), for the id of one investigation or what `about_many` gives."""
        claims = _Claims(principal=principal, about=about, audience=audience, expires=expires)
        body = base64.urlsafe_b64encode(claims.model_dump_json().encode())
        return f"{body.decode()}.{self._sign(body)}"

    def holder(self, ticket: str, about: str, audience: str) -> Principal | None:
        """Who a ticket is of; None where it is not ours, for another API, about something else, or too old."""
        body, _, signature = ticket[:_LONGEST].partition(".")
        if not hmac.compare_digest(self._sign(body.encode()).encode(), signature.encode()):
            return None
        try:
            claims = _Claims.model_validate(json.loads(base64.urlsafe_b64decode(body)))
        except (ValueError, ValidationError, binascii.Error):
            return None
        fits = (claims.about, claims.audience) == (about, audience) and claims.expires >= time.time()
        return claims.principal if fits else None

    def _sign(self, body: bytes) -> str:
        return hmac.new(self._secret, b"investigation-ticket\0" + body, hashlib.sha256).hexdigest()
