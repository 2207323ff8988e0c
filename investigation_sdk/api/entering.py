"""From a connection to what its principal may use: each request passes here before its endpoint is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from investigation_sdk.api.origins import Origins
from investigation_sdk.api.tickets import Tickets
from investigation_sdk.principals import PrincipalSDK
from investigation_sdk.realtime.sockets import InvestigationWebSocketManager
from investigation_sdk.sdk import InvestigationSDK

_KEY = "investigation_sdk.entered"


@dataclass(frozen=True)
class Served:
    """What one router serves."""

    sdk: InvestigationSDK
    rooms: InvestigationWebSocketManager
    tickets: Tickets
    origins: Origins


@dataclass(frozen=True)
class Entered:
    """A connection whose principal is known."""

    served: Served
    view: PrincipalSDK


def enter(connection: HTTPConnection, entered: Entered) -> None:
    """Keep it with the connection, for its endpoint."""
    connection.scope[_KEY] = entered


# Both are coroutines: what is not, FastAPI runs on another thread, which takes longer than what is done there.


async def entered_of(connection: HTTPConnection) -> Entered:
    """What was kept. There is none where a route is not guarded, and then nothing is served."""
    return cast("Entered", connection.scope[_KEY])


async def _view(entered: Annotated[Entered, Depends(entered_of)]) -> PrincipalSDK:
    return entered.view


View = Annotated[PrincipalSDK, Depends(_view)]
Guest = Annotated[Entered, Depends(entered_of)]
