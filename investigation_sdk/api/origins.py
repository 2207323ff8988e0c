"""Origins: a browser lets any page open a WebSocket to any server, or post to it, with the cookies of that server; and
says whose page it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.requests import HTTPConnection

from investigation_sdk.errors import ConfigurationError

ANY: Final = "*"

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ENCRYPTED: Final = frozenset({"https", "wss"})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing; of what they answer, a page of another origin sees nothing."""


class Origins:
    """Whose pages may open WebSockets and send commands.

    Args:
        allowed: Origins such as ``https://desk.example.com``, and no others; ``*`` for any. None: the host that is
            connected to, by TLS where the connection is.

    Raises:
        ConfigurationError: one of them is no origin.
    """

    def __init__(self, allowed: Sequence[str] | None) -> None:
        if isinstance(allowed, str):
            raise ConfigurationError(f"allowed_origins={allowed!r} is a text; give a list: [{allowed!r}]")
        self._any = allowed is not None and ANY in allowed
        self._allowed = None if allowed is None else {_origin(one) for one in allowed if one != ANY}

    async def check(self, connection: HTTPConnection) -> None:
        """Whether a WebSocket may be opened, or a request may change something. Who names no origin is no browser, and
        passes.

        Raises:
            HTTPException: it may not.
        """
        given = connection.headers.getlist("origin")
        if not given or self._any or connection.scope.get("method") in _SAFE:
            return
        try:
            origin = _origin(given[0])
        except ConfigurationError:  # "null", too: of a page in a sandbox, or a file
            origin = None
        if len(given) == 1 and origin is not None:
            if self._allowed is None and _same_host(connection, *origin):
                return
            if self._allowed is not None and origin in self._allowed:
                return
        raise HTTPException(
            403,
            f"Pages of the origin {given[0][:200]!r} may neither open WebSockets nor send commands here. Where they "
            "are yours: create_router(…, allowed_origins=[…]) takes it.",
        )


def _origin(text: str) -> tuple[str, str, int]:
    """Scheme, host and port of an origin."""
    try:
        parts = urlsplit(text)
        default = _PORTS[parts.scheme]
        host, port = parts.hostname, default if parts.port is None else parts.port
        if not host or text.lower().rstrip("/") != f"{parts.scheme}://{parts.netloc}".lower() or "@" in parts.netloc:
            raise ValueError(text)
    except (ValueError, KeyError):
        raise ConfigurationError(
            f"allowed_origins: {text[:200]!r} is no origin; write scheme, host and perhaps port, such as "
            "'https://desk.example.com', or '*' for any"
        ) from None
    return parts.scheme, host, port


def _same_host(connection: HTTPConnection, scheme: str, host: str, port: int) -> bool:
    """Whether a page is of the host that is connected to, as the header ``Host`` has it.

    A page that came without TLS may be anybody's between, and is not of a host that is connected to with it. The
    other way round a proxy has ended TLS.
    """
    if connection.scope["scheme"] in _ENCRYPTED and scheme not in _ENCRYPTED:
        return False
    try:
        parts = urlsplit(f"//{connection.headers.get('host', '')}")
        return (parts.hostname, _PORTS[scheme] if parts.port is None else parts.port) == (host, port)
    except ValueError:
        return False
