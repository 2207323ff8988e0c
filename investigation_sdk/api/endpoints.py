"""The endpoints that need a principal: each hands over to the SDK as that principal may use it."""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response, WebSocket
from pydantic import AwareDatetime
from starlette.types import Receive, Scope, Send

from investigation_sdk.api import examples
from investigation_sdk.api.described import InvestigationId, answers, of_body, of_one
from investigation_sdk.api.entering import Entered, Guest, View
from investigation_sdk.api.etags import ANY, etag, tags_known
from investigation_sdk.api.models import (
    InvestigationStateResponse,
    NewInvestigation,
    ProgressResponse,
    Ticket,
    all_shown,
    shown,
)
from investigation_sdk.api.problems import ProblemRoute
from investigation_sdk.api.tickets import SECONDS, about_many
from investigation_sdk.domain.metrics import MetricsReport
from investigation_sdk.domain.records import (
    Investigation,
    InvestigationEvent,
    InvestigationPhase,
    InvestigationSnapshot,
    Page,
    ToolExecution,
)
from investigation_sdk.domain.states import ALLOWED_TRANSITIONS, InvestigationState, ToolState
from investigation_sdk.ids import canonical
from investigation_sdk.realtime.access import within_reach
from investigation_sdk.realtime.selecting import Selection
from investigation_sdk.realtime.streaming import EventStream
from investigation_sdk.security.roles import Action, denied

endpoints: APIRouter = APIRouter(route_class=ProblemRoute, tags=["investigations"])

Reason = Annotated[str | None, Query(max_length=2000, description="Recorded with the change.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="So many at most.")]
Name = Annotated[str | None, Query(max_length=1000)]
After = Annotated[UUID | None, Query(description="Behind this one; as the header `Link` of the page before has it.")]
Sequence = Annotated[int, Query(ge=0, lt=2**63, description="Behind the event of this sequence.")]


class Streamed(Response):
    """Server-sent events, as the rooms send them."""

    media_type = "text/event-stream"

    def __init__(self, stream: EventStream) -> None:
        super().__init__()
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See :class:`investigation_sdk.realtime.streaming.EventStream`."""
        await self._stream(scope, receive, send)


def _text(id: UUID | None) -> str | None:
    return None if id is None else str(id)


def _link(request: Request, response: Response, page: Page[Any]) -> None:
    """The next page, where there is one, as RFC 8288 has it."""
    if page.next is not None:
        response.headers["Link"] = f'<{request.url.include_query_params(after=page.next)}>; rel="next"'


@endpoints.post("/investigations", status_code=202, responses=of_body(examples.QUEUED, 409, status=202))
async def submit_investigation(body: NewInvestigation, view: View) -> Investigation:
    """Have something investigated: queued for a worker of its type."""
    return shown(await view.submit(**dict(body)))


@endpoints.get("/investigations", responses=answers([examples.RUNNING]))
async def list_investigations(
    request: Request,
    response: Response,
    view: View,
    *,
    investigation_type: Name = None,
    status: Annotated[list[InvestigationState] | None, Query()] = None,
    user_id: Name = None,
    created_after: Annotated[AwareDatetime | None, Query(description="Created then, or later.")] = None,
    created_before: Annotated[AwareDatetime | None, Query(description="Created before then.")] = None,
    after: After = None,
    limit: Limit = 100,
) -> list[Investigation]:
    """Those that may be seen, newest first. The header ``Link`` names the next page."""
    page = await view.list(
        investigation_type=investigation_type,
        status=status,
        user_id=user_id,
        since=created_after,
        until=created_before,
        after=_text(after),
        limit=limit,
    )
    _link(request, response, page)
    return all_shown(page)


@endpoints.get("/investigations/metrics", responses=answers(examples.METRICS))
async def get_metrics(
    view: View,
    *,
    hours: Annotated[float, Query(gt=0, le=24 * 366)] = 24,
    investigation_type: Name = None,
) -> MetricsReport:
    """What the investigations of the last hours add up to."""
    return await view.metrics(since=timedelta(hours=hours), investigation_type=investigation_type)


@endpoints.get("/investigation/{investigation_id}", responses=of_one(examples.RUNNING))
async def get_investigation(investigation_id: InvestigationId, view: View) -> Investigation:
    """One investigation, with its result."""
    return shown(await view.get(investigation_id))


@endpoints.get(
    "/investigation/{investigation_id}/progress",
    response_model=ProgressResponse,
    responses={**of_one(examples.PROGRESS), 304: {"description": "Nothing is new since the ETag of If-None-Match"}},
)
async def get_investigation_progress(
    investigation_id: InvestigationId,
    view: View,
    *,
    include_tools: bool = True,
    include_events: bool = False,
    if_none_match: Annotated[list[str] | None, Header(description="ETags, in one line or several.")] = None,
) -> Any:
    """Get detailed progress. Its ETag changes with what is recorded, and every 5 s while it runs."""
    form = f"{include_tools:d}{include_events:d}"
    known = tags_known(if_none_match or (), form)
    only = known if len(known) == 1 and ANY not in known else ()  # then it can be told without working it out
    progress = await view.changed_progress(investigation_id, only, include_tools=include_tools)
    if progress is None or ANY in known or progress.tag in known:
        tag = known[0] if progress is None else progress.tag
        return Response(status_code=304, headers={"ETag": etag(tag, form)})
    events = all_shown(await view.events(investigation_id, limit=1000)) if include_events else None
    found = ProgressResponse.model_construct(**dict(progress), events=events)
    headers = {"ETag": etag(progress.tag, form), "Cache-Control": "private, no-cache"}
    return Response(found.model_dump_json(), headers=headers, media_type="application/json")


@endpoints.post("/investigation/{investigation_id}/transition", responses=of_one(examples.STATE, 409))
async def transition_investigation_state(
    investigation_id: InvestigationId, view: View, *, new_state: InvestigationState, reason: Reason = None
) -> InvestigationStateResponse:
    """Manually transition the state (admin only, with a reason)."""
    await view.service.transition_state(investigation_id, new_state, reason)
    state = (await view.get(investigation_id)).status
    return InvestigationStateResponse(
        investigation_id=canonical(investigation_id), status=state, allowed=list(ALLOWED_TRANSITIONS[state])
    )


@endpoints.post("/investigation/{investigation_id}/pause", responses=of_one(examples.PAUSED, 409))
async def pause_investigation(investigation_id: InvestigationId, view: View, *, reason: Reason = None) -> Investigation:
    """Pause a running investigation: it stops at its next boundary."""
    return shown(await view.service.pause(investigation_id, reason))


@endpoints.post("/investigation/{investigation_id}/resume", responses=of_one(examples.RUNNING, 409))
async def resume_investigation(
    investigation_id: InvestigationId, view: View, *, reason: Reason = None
) -> Investigation:
    """Resume a paused investigation."""
    return shown(await view.service.resume(investigation_id, reason))


@endpoints.post("/investigation/{investigation_id}/cancel", responses=of_one(examples.CANCELLED, 409))
async def cancel_investigation(
    investigation_id: InvestigationId, view: View, *, reason: Reason = None
) -> Investigation:
    """Cancel it for good."""
    return shown(await view.service.cancel(investigation_id, reason))


@endpoints.post("/investigation/{investigation_id}/retry", responses=of_one(examples.RETRYING, 409))
async def retry_investigation(investigation_id: InvestigationId, view: View, *, reason: Reason = None) -> Investigation:
    """Have one that failed tried again."""
    return shown(await view.service.retry(investigation_id, reason))


@endpoints.get("/investigation/{investigation_id}/phases", responses=of_one([examples.PHASE]))
async def get_phases(investigation_id: InvestigationId, view: View) -> list[InvestigationPhase]:
    """All phases, in their order."""
    return all_shown(await view.phases(investigation_id))


@endpoints.get("/investigation/{investigation_id}/tools", responses=of_one([examples.CALL]))
async def get_tool_executions(
    investigation_id: InvestigationId,
    request: Request,
    response: Response,
    view: View,
    *,
    agent_filter: Name = None,
    status_filter: ToolState | None = None,
    after: After = None,
    limit: Limit = 100,
) -> list[ToolExecution]:
    """Calls of tools, in the order of their start. The header ``Link`` names the next page."""
    page = await view.tools(investigation_id, agent=agent_filter, status=status_filter, after=_text(after), limit=limit)
    _link(request, response, page)
    return all_shown(page)


@endpoints.get("/investigation/{investigation_id}/snapshots", responses=of_one([examples.SNAPSHOT]))
async def get_snapshots(
    investigation_id: InvestigationId,
    request: Request,
    response: Response,
    view: View,
    *,
    after: After = None,
    limit: Limit = 100,
) -> list[InvestigationSnapshot]:
    """Saved states, the newest first. The header ``Link`` names the next page."""
    page = await view.snapshots(investigation_id, after=_text(after), limit=limit)
    _link(request, response, page)
    return all_shown(page)


@endpoints.get("/investigation/{investigation_id}/events", responses=of_one([examples.EVENT]))
async def get_investigation_events(
    investigation_id: InvestigationId,
    request: Request,
    response: Response,
    view: View,
    *,
    event_type: Annotated[str | None, Query(max_length=200)] = None,
    after: Sequence = 0,
    limit: Limit = 100,
) -> list[InvestigationEvent]:
    """Get event history for audit trail, in order. The header ``Link`` names the next page."""
    page = await view.events(investigation_id, event_type=event_type, after=after, limit=limit)
    _link(request, response, page)
    return all_shown(page)


@endpoints.get(
    "/investigation/{investigation_id}/events/stream",
    status_code=200,
    response_class=Streamed,
    responses=of_one(examples.STREAM, media_type=Streamed.media_type),
)
async def stream_events(
    investigation_id: InvestigationId,
    guest: Guest,
    *,
    after: Sequence = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Streamed:
    """Server-sent events: all behind ``after`` or ``Last-Event-ID``, then those that come."""
    await guest.view.get(investigation_id)
    place, principal = last_event_id or after, guest.view.principal
    return Streamed(await guest.served.rooms.stream(investigation_id, principal=principal, after=place))


@endpoints.post(
    "/investigation/{investigation_id}/ticket", status_code=201, responses=of_one(examples.TICKET, status=201)
)
async def issue_ticket(investigation_id: InvestigationId, guest: Guest, request: Request) -> Ticket:
    """A ticket with which a browser connects to ``…/ws/ticket`` within a minute, to watch this investigation."""
    record = await guest.view.get(investigation_id)
    return _ticket(guest, record.id, request)


@endpoints.post("/investigations/ticket", status_code=201, responses=answers(examples.TICKET, status=201))
async def issue_ticket_for_many(
    guest: Guest, request: Request, *, investigation_type: Name = None, user_id: Name = None
) -> Ticket:
    """A ticket for ``/investigations/ws/ticket``, to be used with the same ``investigation_type`` and ``user_id``."""
    asked = Selection(investigation_type, user_id)
    if within_reach(guest.view.principal, asked) is None:
        raise denied(guest.view.principal, Action.READ)
    return _ticket(guest, about_many(investigation_type, user_id), request)


def _ticket(guest: Entered, about: str, request: Request) -> Ticket:
    expires = int(time.time()) + SECONDS
    tickets = guest.served.tickets
    signed = tickets.issue(guest.view.principal, about, expires, tickets.audience(request))
    return Ticket(ticket=signed, expires_at=datetime.fromtimestamp(expires, UTC))


@endpoints.websocket("/investigation/{investigation_id}/ws")
async def watch(websocket: WebSocket, investigation_id: str, guest: Guest, after: str = "") -> None:
    """All events behind ``after``, then those that come."""
    await guest.served.rooms.serve(websocket, investigation_id, principal=guest.view.principal, after=after)


@endpoints.websocket("/investigations/ws")
async def watch_many(
    websocket: WebSocket,
    guest: Guest,
    *,
    investigation_type: str | None = None,
    user_id: str | None = None,
    after: str = "",
) -> None:
    """All events of a type's, a user's or all that may be seen; ``after``: JSON by id, or ``message``: its first."""
    await guest.served.rooms.serve_many(
        websocket,
        principal=guest.view.principal,
        investigation_type=investigation_type,
        user_id=user_id,
        after=after,
    )
