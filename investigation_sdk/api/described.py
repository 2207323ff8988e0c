"""How endpoints are described: what each answers, with an example, and the problems that it may answer instead."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path

from investigation_sdk.api.examples import ID, PROBLEMS
from investigation_sdk.api.problems import MEDIA_TYPE, ProblemDetails

Answers = dict[int | str, dict[str, Any]]

InvestigationId = Annotated[str, Path(description="Its id, a UUID.", examples=[ID])]

_ALWAYS: Final = (401, 403, 422, 503)
_OF_ONE: Final = (404,)
_OF_BODY: Final = (400, 413, 415)


def problems(*statuses: int) -> Answers:
    """Problem details, of these statuses."""
    answers: Answers = {}
    for status in sorted(statuses):
        what, said = PROBLEMS[status]
        body = {"type": "about:blank", "status": status, **said}
        schema = {"$ref": "#/components/schemas/ProblemDetails"}
        content = {MEDIA_TYPE: {"schema": schema, "example": body}}
        answers[status] = {"model": ProblemDetails, "description": what, "content": content}
    return answers


def answers(example: Any, *further: int, status: int = 200, media_type: str = "application/json") -> Answers:
    """What is answered when all is well, and what any endpoint may answer instead, and `further` problems."""
    well: dict[str, Any] = {"content": {media_type: {"example": example}}}
    return {status: well, **problems(*_ALWAYS, *further)}


def of_one(example: Any, *further: int, status: int = 200, media_type: str = "application/json") -> Answers:
    """The same for an endpoint of one investigation."""
    return answers(example, *_OF_ONE, *further, status=status, media_type=media_type)


def of_body(example: Any, *further: int, status: int = 200) -> Answers:
    """The same for an endpoint that takes a body."""
    return answers(example, *_OF_BODY, *further, status=status)
