"""Origins: a browser lets any page open a WebSocket to any server, with the cookies of that server; and says whose page
it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.requests import HTTPConnection

from investigation_sdk.errors import ConfigurationError

ANY: Final = "*"

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Origins:
    """Whose pages may open WebSockets.

    Args:
        allowed: Origins such as ``https://desk.example.com``, and no others; ``*`` for any. None: the host that is
            connected to.

    Raises:
        ConfigurationError: one of them is no origin.
    """

    def __init__(self, allowed: Sequence[str] | None) -> None:
        if isinstance(allowed, str):
            raise ConfigurationError(f"allowed_origins={allowed!r} is a text; give a list: [{allowed!r}]")
        self._any = allowed is not None and ANY in allowed
        self._allowed = None if allowed is None else {_origin(one) for one in allowed if one != ANY}

    async def check(self, connection: HTTPConnection) -> None:
        """Whether a WebSocket may be opened. Who names no origin is no browser, and passes.

        Raises:
            HTTPException: it may not.
        """
        given = connection.headers.getlist("origin")
        if connection.scope["type"] != "websocket" or not given or self._any:
            return
        try:
            scheme, *place = _origin(given[0])
        except ConfigurationError:  # "null", too: of a page in a sandbox, or a file
            scheme, place = "", []
        if len(given) == 1 and scheme:
            if self._allowed is None and place == _host(connection.headers.get("host", ""), scheme):
                return
            if self._allowed is not None and (scheme, *place) in self._allowed:
                return
        raise HTTPException(
            403,
            f"Pages of the origin {given[0][:200]!r} may not open WebSockets here. Where they are yours: "
            "create_router(…, allowed_origins=[…]) takes it.",
        )


def _origin(text: str) -> tuple[str, str, int]:
    """Scheme, host and port of an origin."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
        if not host or text.lower().rstrip("/") != f"{parts.scheme}://{parts.netloc}".lower() or "@" in parts.netloc:
            raise ValueError(text)
    except (ValueError, KeyError):
        raise ConfigurationError(
            f"allowed_origins: {text[:200]!r} is no origin; write scheme, host and perhaps port, such as "
            "'https://desk.example.com', or '*' for any"
        ) from None
    return parts.scheme, host, port


def _host(header: str, scheme: str) -> list[str | int]:
    """Host and port of the header ``Host``, for a page that came by that scheme."""
    try:
        parts = urlsplit(f"//{header}")
        return [parts.hostname or "", parts.port or _PORTS[scheme]]
    except ValueError:
        return []
