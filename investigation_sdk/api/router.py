"""Puts the endpoints together: a router to mount, and an application that is nothing else."""

import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import HTTPConnection

from investigation_sdk.api.endpoints import endpoints
from investigation_sdk.api.entering import Entered, Served, enter
from investigation_sdk.api.models import Health
from investigation_sdk.api.origins import Origins
from investigation_sdk.api.parameters import Parameters
from investigation_sdk.api.problems import ProblemRoute, of_error
from investigation_sdk.api.tickets import Tickets, about_many
from investigation_sdk.errors import AccessDenied, ConfigurationError, InvestigationError, InvestigationNotFound
from investigation_sdk.ids import canonical
from investigation_sdk.realtime.listening import NOT_YET
from investigation_sdk.realtime.sockets import InvestigationWebSocketManager
from investigation_sdk.sdk import InvestigationSDK
from investigation_sdk.security.roles import Principal, Role

_NO_TICKET = 4401
_MAX_AGE = timedelta(minutes=15)


def create_router(
    sdk: InvestigationSDK,
    *,
    authenticate: Callable[..., Any] | None = None,
    allow_anonymous: bool = False,
    ticket_secret: bytes | None = None,
    ticket_audience: str | None = None,
    allowed_origins: Sequence[str] | None = None,
    rooms: InvestigationWebSocketManager | None = None,
) -> APIRouter:
    """The API of an SDK, for ``app.include_router(create_router(sdk, authenticate=…), prefix="/fraud")``.

    Args:
        sdk: Whose investigations are served. Opening and closing it is the application's.
        authenticate: Any FastAPI dependency that returns a Principal, or raises HTTPException. It serves
            WebSockets too where it asks for what both have: headers, or an ``HTTPConnection``.
        allow_anonymous: Without `authenticate`: whoever can connect reads, creates and steers.
        ticket_secret: Signs the tickets of browsers; at least 32 bytes, the same in all processes that serve. None:
            one of this router, so that a ticket is good for the process that gave it. A ticket is good once: in each
            process, and with ``InvestigationSDK(redis=…)`` in all of them.
        ticket_audience: A name of this API, signed with its tickets: of those that share a secret, each takes its own
            alone. The same in all processes that serve this one. None: the path at which it is mounted, so that APIs
            at the same path, of two hosts for example, need a name or a secret each.
        allowed_origins: Pages of which origins may open WebSockets and send commands (POST), such as
            ``["https://desk.example.com"]``; ``["*"]``: of any, which is only safe where `authenticate` takes no
            cookies. None: of the host that is connected to, as the header ``Host`` has it, and by TLS where the
            connection is. Who sends no ``Origin`` is no browser, and passes.
        rooms: By which clients watch: its settings, above all ``recheck=``, which asks again who they are while they
            do, and ``await rooms.roles_changed()`` for at once. None: one that has them connect again every 15
            minutes, and so pass `authenticate` again.

    Raises:
        ConfigurationError: neither `authenticate` nor ``allow_anonymous=True``, or both; a short secret; what is no
            origin; or rooms of another SDK.
    """
    if authenticate is None and not allow_anonymous:
        raise ConfigurationError(
            "create_router needs authenticate=, a FastAPI dependency that returns a Principal. Without one, everybody "
            "who can connect could steer: say allow_anonymous=True if that is meant."
        )
    if authenticate is not None and allow_anonymous:
        raise ConfigurationError("create_router takes authenticate= or allow_anonymous=True, not both")
    if ticket_secret is not None and len(ticket_secret) < 32:
        raise ConfigurationError("ticket_secret= is too short; at least 32 bytes, such as secrets.token_bytes(32)")
    if rooms is not None and rooms.sdk is not sdk:
        raise ConfigurationError("rooms= is of another SDK; make it with InvestigationWebSocketManager(sdk, …)")
    served = Served(
        sdk,
        rooms or InvestigationWebSocketManager(sdk, max_age=_MAX_AGE),
        Tickets(ticket_secret or secrets.token_bytes(32), ticket_audience, sdk.hub.first),
        Origins(allowed_origins),
    )
    router = APIRouter()
    router.include_router(_open(served))
    router.include_router(endpoints, dependencies=[Depends(_entrance(served, authenticate or _anonymous(sdk)))])
    return router


def create_app(
    sdk: InvestigationSDK,
    *,
    authenticate: Callable[..., Any] | None = None,
    allow_anonymous: bool = False,
    ticket_secret: bytes | None = None,
    ticket_audience: str | None = None,
    allowed_origins: Sequence[str] | None = None,
    rooms: InvestigationWebSocketManager | None = None,
) -> FastAPI:
    """An application that is the API and nothing else; it opens and closes the SDK. As of :func:`create_router`."""
    router = create_router(
        sdk,
        authenticate=authenticate,
        allow_anonymous=allow_anonymous,
        ticket_secret=ticket_secret,
        ticket_audience=ticket_audience,
        allowed_origins=allowed_origins,
        rooms=rooms,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with sdk:
            yield

    async def answered(_: Request, error: Exception) -> Response:
        return of_error(error)

    app = FastAPI(title="Investigations", lifespan=lifespan)
    app.include_router(router)
    app.add_exception_handler(StarletteHTTPException, answered)
    app.add_exception_handler(RequestValidationError, answered)
    return app


def _anonymous(sdk: InvestigationSDK) -> Callable[..., Any]:
    roles = frozenset({Role.OPERATOR})

    async def anonymous() -> Principal:
        return Principal(id="anonymous", roles=roles, tenant_id=sdk.tenant or None)

    return anonymous


def _entrance(served: Served, authenticate: Callable[..., Any]) -> Callable[..., Any]:
    parameters = Parameters(authenticate)

    async def entrance(connection: HTTPConnection, principal: Any = Depends(authenticate)) -> None:  # noqa: B008 - known here alone
        await served.origins.check(connection)
        if not isinstance(principal, Principal):
            raise HTTPException(401, "Not authenticated.")
        if connection.scope["type"] == "http":
            parameters.check(connection)
        try:
            view = served.sdk.as_principal(principal)
        except AccessDenied as error:  # of another tenant
            if connection.scope["type"] == "websocket":  # refused in its handshake
                raise HTTPException(403, str(error)) from None
            raise
        enter(connection, Entered(served, view))

    return entrance


def _open(served: Served) -> APIRouter:
    """What asks for no principal: whether it runs, and what a ticket opens."""
    router = APIRouter(route_class=ProblemRoute, tags=["service"])
    of_known_pages = [Depends(served.origins.check)]

    well = {"content": {"application/json": {"example": {"status": "ok", "hearing": None, "deaf": None}}}}
    heard = {"content": {"application/json": {"example": {"status": "ok", "hearing": "redis", "deaf": None}}}}
    down = {"model": Health, "description": "The store does not answer, or it begins to hear and does not yet"}

    @router.get("/health", responses={200: well})
    async def health() -> Health:
        """This process serves."""
        return Health(status="ok")

    @router.get("/ready", responses={200: heard, 503: down})
    async def ready(response: Response) -> Health:
        """The store answers, too, and by what this process hears of others."""
        try:
            await served.sdk.list(limit=1)
        except InvestigationError:
            response.status_code = 503
            return Health(status="the store does not answer")
        hearing = await served.sdk.hub.begun()
        status = "ok"
        if hearing.deaf == NOT_YET:  # a moment: it hears then, or knows why not, and serves in spite of that
            status, response.status_code = "it does not hear yet", 503
        return Health(status=status, hearing=hearing.broker or "polling", deaf=hearing.deaf)

    @router.websocket("/investigation/{investigation_id}/ws/ticket", dependencies=of_known_pages)
    async def watch_by_ticket(websocket: WebSocket, investigation_id: str, ticket: str = "", after: str = "") -> None:
        """All events of one behind ``after``, then those that come, by a ticket."""
        try:
            audience = served.tickets.audience(websocket)
            principal = await served.tickets.redeemed(ticket, canonical(investigation_id), audience)
        except InvestigationNotFound:
            principal = None
        if principal is None:
            await _no_ticket(websocket)
        else:
            await served.rooms.serve(websocket, investigation_id, principal=principal, after=after)

    @router.websocket("/investigations/ws/ticket", dependencies=of_known_pages)
    async def watch_many_by_ticket(
        websocket: WebSocket,
        *,
        ticket: str = "",
        investigation_type: str | None = None,
        user_id: str | None = None,
        after: str = "",
    ) -> None:
        """All events of a type's, a user's or all, by a ticket; ``after``: JSON by id, or ``message``: its first."""
        about, audience = about_many(investigation_type, user_id), served.tickets.audience(websocket)
        principal = await served.tickets.redeemed(ticket, about, audience)
        if principal is None:
            await _no_ticket(websocket)
            return
        await served.rooms.serve_many(
            websocket, principal=principal, investigation_type=investigation_type, user_id=user_id, after=after
        )

    return router


async def _no_ticket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(_NO_TICKET, "no ticket that is good for this: it is too old, used, or about something else")
