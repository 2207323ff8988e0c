"""Errors as RFC 9457 problem details: what a client can act on, and nothing of what is inside."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from investigation_sdk.errors import (
    AccessDenied,
    BackendUnavailable,
    InvalidArgument,
    InvalidStateTransition,
    InvestigationBusy,
    InvestigationCancelled,
    InvestigationError,
    InvestigationFinished,
    InvestigationNotFound,
    InvestigationPaused,
    InvestigationUnfinished,
    LeaseLost,
    PayloadTooLarge,
    VersionConflict,
)
from investigation_sdk.telemetry.incoming import going_on

_log = logging.getLogger("investigation_sdk.api")

MAX_BODY: Final = 1_048_576
"""Bytes of a request's body at most."""

_METHODS: Final = ("GET", "POST")
"""Those of all endpoints."""

MEDIA_TYPE: Final = "application/problem+json"

_STATUS: Final[tuple[tuple[type[InvestigationError], int], ...]] = (
    (InvestigationNotFound, 404),
    (AccessDenied, 403),
    (InvalidArgument, 422),
    (PayloadTooLarge, 413),
    (InvalidStateTransition, 409),
    (InvestigationUnfinished, 409),
    (InvestigationFinished, 409),
    (InvestigationPaused, 409),
    (InvestigationCancelled, 409),
    (InvestigationBusy, 409),
    (LeaseLost, 409),
    (VersionConflict, 409),
)


class ProblemDetails(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    error: str | None = None
    """The SDK's name for it, such as ``InvalidStateTransition``."""
    investigation_id: str | None = None
    current: str | None = None
    """Of a transition that is not allowed: the state it is in."""
    allowed: list[str] | None = None
    """Of a transition that is not allowed: the states that can follow."""
    errors: list[dict[str, Any]] | None = None
    """Of a bad request: where (``loc``) and what (``msg``)."""


def problem(status: int, detail: str | None = None, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    """An answer that says what went wrong."""
    body = ProblemDetails(title=_title(status), status=status, detail=detail, **more)
    return JSONResponse(body.model_dump(exclude_none=True), status, headers=headers, media_type=MEDIA_TYPE)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # applications and proxies have their own, such as 499
        return "Client Error" if 400 <= status < 500 else "Error"


def _told(detail: Any) -> str | None:
    """The detail of an error that somebody else raised, as text that can be sent: JSON where it is anything else."""
    if detail is None:
        return None
    try:
        text = detail if isinstance(detail, str) else json.dumps(detail, default=str, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # keys that JSON has not, or a circle
        return None
    return text.encode(errors="replace").decode()


def of_error(error: Exception) -> JSONResponse:
    """The answer for an error. What is not meant for clients is logged, and not told."""
    if isinstance(error, RequestValidationError):
        # What was sent is not sent back: it may be a secret in the wrong place.
        errors = [{"loc": list(one["loc"]), "msg": _message(one), "type": one["type"]} for one in error.errors()]
        first = f" {' '.join(map(str, errors[0]['loc']))}: {errors[0]['msg']}" if errors else ""
        return problem(422, f"The request is not as the API describes it.{first}"[:1000], errors=errors)
    if isinstance(error, StarletteHTTPException):
        return problem(error.status_code, _told(error.detail), dict(error.headers or {}))
    if isinstance(error, BackendUnavailable):
        _log.warning("The store does not answer a request: %s", error)
        return problem(503, "The store does not answer. Try again.", {"Retry-After": "5"}, error="BackendUnavailable")
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), None)
    if status is None:
        _log.error("A request failed.", exc_info=error)
        return problem(500, "Something went wrong here. The server's log says what.")
    more: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, InvestigationError):
        more["investigation_id"] = error.investigation_id
    if isinstance(error, InvalidStateTransition):
        more["current"] = getattr(error, "current", None)
        more["allowed"] = [state.value for state in error.allowed]
    return problem(status, str(error), **more)


def _message(error: Any) -> str:
    context: dict[str, Any] = error.get("ctx") or {}
    why = context.get("error") if error["type"] == "json_invalid" else None
    return f"{error['msg']}: {why}" if isinstance(why, str) else str(error["msg"])


def _of_json(request: Request, route: APIRoute) -> None:
    """See to it that a body is said to be JSON: it would be taken for a text, and misunderstood.

    Raises:
        HTTPException: it is not.
    """
    kind = request.headers.get("content-type", MEDIA_TYPE).partition(";")[0].strip().lower()
    if route.body_field is not None and kind != "application/json" and not kind.endswith("+json"):
        said = f"The body is to be JSON, and is said to be {kind[:100]!r}."
        raise HTTPException(415, f"{said} Send Content-Type: application/json.")


def _limited(request: Request) -> Request:
    """The same request, refused as soon as its body is too long, whatever its header says."""
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > MAX_BODY:
        raise HTTPException(413, f"The body is longer than {MAX_BODY} bytes.")
    size = 0

    async def receive() -> Any:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise HTTPException(413, f"The body is longer than {MAX_BODY} bytes.")
        return message

    return Request(request.scope, receive)


class ProblemRoute(APIRoute):
    """A route whose errors are problem details, in whatever application it is mounted."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with errors answered."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            with going_on(request.headers):
                try:
                    _of_json(request, self)
                    return await handle(_limited(request))
                except Exception as error:
                    return of_error(error)

        return answered

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; also one of a method that is none of its own, for which the application would."""
        if scope["method"] in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        allowed = [one for one in _METHODS if _matches({**scope, "method": one})]
        detail = f"{scope['method']} is not possible here; these are: {', '.join(allowed)}."
        await problem(405, detail, {"Allow": ", ".join(allowed)})(scope, receive, send)


def _matches(scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in scope["router"].routes)
