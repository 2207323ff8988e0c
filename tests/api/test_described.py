"""The description of the API: every operation says what it does, what it answers, with examples that are right."""

from typing import Any, get_origin

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from investigation_sdk import InvestigationSDK
from investigation_sdk.api import create_app, examples
from investigation_sdk.api.endpoints import endpoints
from investigation_sdk.api.problems import ProblemDetails

OPEN = {"/health", "/ready"}
SDK = InvestigationSDK("memory://")
SCHEMA: dict[str, Any] = create_app(SDK, allow_anonymous=True).openapi()
OPERATIONS = {
    (method.upper(), path): operation
    for path, operations in SCHEMA["paths"].items()
    for method, operation in operations.items()
}
ONE = "/investigation/{investigation_id}"
each = pytest.mark.parametrize(("method", "path"), list(OPERATIONS))


def test_everything_that_is_promised_is_there() -> None:
    assert set(OPERATIONS) == {
        ("GET", "/health"),
        ("GET", "/ready"),
        ("POST", "/investigations"),
        ("GET", "/investigations"),
        ("GET", "/investigations/metrics"),
        ("POST", "/investigations/ticket"),
        ("GET", ONE),
        *(("GET", f"{ONE}/{what}") for what in ("progress", "phases", "tools", "snapshots", "events", "events/stream")),
        *(("POST", f"{ONE}/{verb}") for verb in ("transition", "pause", "resume", "cancel", "retry", "ticket")),
    }


@each
def test_an_operation_says_what_it_does(method: str, path: str) -> None:
    operation = OPERATIONS[method, path]
    assert len(operation["summary"]) > 4
    assert len(operation["description"]) > 15
    assert operation["operationId"]
    for parameter in operation.get("parameters", ()):
        assert "schema" in parameter
        if parameter["in"] == "path":
            assert parameter["description"]
            assert parameter["schema"].get("examples") or parameter.get("example"), parameter
    body = operation.get("requestBody")
    if body is not None:
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert SCHEMA["components"]["schemas"][name]["examples"]


@each
def test_a_good_answer_has_an_example(method: str, path: str) -> None:
    answers = OPERATIONS[method, path]["responses"]
    (status,) = [status for status in answers if status.startswith("2")]
    ((media_type, content),) = answers[status]["content"].items()
    assert content["example"], media_type
    assert content["schema"], media_type


@each
def test_problems_are_described_and_have_examples(method: str, path: str) -> None:
    if path in OPEN:
        return
    answers = OPERATIONS[method, path]["responses"]
    expected = {"401", "403", "422", "503"}
    if "{investigation_id}" in path:
        expected.add("404")
    if method == "POST" and not path.endswith("/ticket"):
        expected.add("409")
    if "requestBody" in OPERATIONS[method, path]:
        expected |= {"400", "413", "415"}
    assert {status for status in answers if status[0] in "45"} == expected
    for status in expected:
        content = answers[status]["content"]
        problem = ProblemDetails.model_validate(content["application/problem+json"]["example"])
        assert (problem.status, problem.type) == (int(status), "about:blank")
        assert problem.detail
        if status == "409":
            assert (problem.current, problem.allowed) == ("queued", ["initializing", "cancelled"])


@pytest.mark.parametrize("route", [route for route in endpoints.routes if isinstance(route, APIRoute)], ids=str)
def test_examples_are_what_the_endpoints_answer(route: APIRoute) -> None:
    content = route.responses[route.status_code or 200]["content"]
    if "application/json" not in content:
        return
    example, model = content["application/json"]["example"], route.response_model
    adapter: TypeAdapter[Any] = TypeAdapter(model)
    found = adapter.validate_python(example, strict=False)
    for shown, said in zip(_many(found), _many(example), strict=True):
        assert set(type(shown).model_fields) == set(said), "each member is shown"
    assert get_origin(model) is list or not isinstance(example, list)


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_examples_are_of_one_investigation() -> None:
    records = (examples.RUNNING, examples.QUEUED, examples.PAUSED, examples.CANCELLED, examples.RETRYING)
    assert {record["id"] for record in records} == {examples.ID}
    assert [record["status"] for record in records] == ["running", "queued", "paused", "cancelled", "retrying"]
