"""Tickets: what lets a browser, which cannot send a header with a WebSocket, connect within a moment to watch."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from pydantic import BaseModel, ValidationError
from starlette.requests import HTTPConnection

from investigation_sdk.security.roles import Principal

SECONDS: Final = 60
"""How long a ticket can be used to connect."""

_LONGEST: Final = 8192

_MOST_USED: Final = 100_000
"""Tickets that were used and are not too old yet; where there are more, no further one is taken."""

First = Callable[[str, str, float], Awaitable[bool]]
"""Whether a name of a kind is said for the first time within so many seconds, by all processes that can be asked."""


class _Claims(BaseModel):
    principal: Principal
    about: str
    audience: str
    expires: int
    nonce: str


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
        first: Whether other processes have not seen one that is used; None: they are not asked.
    """

    def __init__(self, secret: bytes, audience: str | None = None, first: First | None = None) -> None:
        self._secret = secret
        self._audience = audience
        self._first = first
        self._used: dict[str, int] = {}

    def audience(self, connection: HTTPConnection) -> str:
        """For whom a ticket is that is asked for, or used, over this connection."""
        return f"path {mounted_at(connection)}" if self._audience is None else f"name {self._audience}"

    def issue(self, principal: Principal, about: str, expires: int, audience: str) -> str:
        """A ticket until `expires` (seconds since 1970), for the id of one investigation or what `about_many` gives."""
        nonce = secrets.token_hex(16)
        claims = _Claims(principal=principal, about=about, audience=audience, expires=expires, nonce=nonce)
        body = base64.urlsafe_b64encode(claims.model_dump_json().encode())
        return f"{body.decode()}.{self._sign(body)}"

    async def redeemed(self, ticket: str, about: str, audience: str) -> Principal | None:
        """Who a ticket is of; None where it is not ours, for another API, about something else, too old, or used.

        It is used then: here, and in whatever process `first` asks.
        """
        claims = self._claims(ticket, about, audience)
        if claims is None or not self._use(claims):
            return None
        left = max(1.0, claims.expires - time.time() + 1)
        if self._first is not None and not await self._first("ticket", claims.nonce, left):
            return None
        return claims.principal

    def _use(self, claims: _Claims) -> bool:
        """Whether it is used for the first time here."""
        used, now = self._used, time.time()
        if len(used) >= _MOST_USED:
            used = self._used = {nonce: expires for nonce, expires in used.items() if expires >= now}
        if claims.nonce in used or len(used) >= _MOST_USED:
            return False
        used[claims.nonce] = claims.expires
        while used and used[oldest := next(iter(used))] < now:
            del used[oldest]
        return True

    def _claims(self, ticket: str, about: str, audience: str) -> _Claims | None:
        body, _, signature = ticket[:_LONGEST].partition(".")
        if not hmac.compare_digest(self._sign(body.encode()).encode(), signature.encode()):
            return None
        try:
            claims = _Claims.model_validate(json.loads(base64.urlsafe_b64decode(body)))
        except (ValueError, ValidationError, binascii.Error):
            return None
        fits = (claims.about, claims.audience) == (about, audience) and claims.expires >= time.time()
        return claims if fits else None

    def _sign(self, body: bytes) -> str:
        return hmac.new(self._secret, b"investigation-ticket\0" + body, hashlib.sha256).hexdigest()
