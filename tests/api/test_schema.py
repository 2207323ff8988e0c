"""The API does what its description says, asked in every way that the description allows."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from investigation_sdk import InvestigationSDK, Principal, Role
from investigation_sdk.api import create_app

SLOW = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)


@pytest.fixture
def sdk() -> Iterator[InvestigationSDK]:
    sdk = InvestigationSDK("memory://")
    yield sdk
    sdk.sync.close()


def asked(app: Any, examples: int, **named: str) -> dict[str, set[int]]:
    """Ask each operation so many times, about what is named, and check each answer; which statuses it gave."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    statuses: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        statuses[operation.label] = _answers(operation, examples, named)
    assert len(statuses) >= 16, statuses
    return statuses


def _answers(operation: Any, examples: int, named: dict[str, str]) -> set[int]:
    statuses: set[int] = set()
    here = {name: value for name, value in named.items() if f"{{{name}}}" in operation.path}

    @settings(max_examples=examples, deadline=None, suppress_health_check=SLOW, database=None, derandomize=True)
    @given(case=operation.as_strategy())
    def ask(case: schemathesis.Case) -> None:
        case.path_parameters = {**case.path_parameters, **here}
        statuses.add(case.call_and_validate().status_code)

    ask()
    return statuses


def test_every_answer_is_as_described(sdk: InvestigationSDK) -> None:
    asked(create_app(sdk, allow_anonymous=True), 8)


@pytest.mark.parametrize("tenant", ["acme", "other"])
def test_so_is_what_is_answered_to_who_may_little(sdk: InvestigationSDK, tenant: str) -> None:
    """An investigator who asks for what is somebody else's, of its tenant or not, gets nothing and changes nothing."""

    async def authenticate() -> Principal:
        return Principal(id="gil", roles=frozenset({Role.INVESTIGATOR}), tenant_id=tenant)

    ann = Principal(id="ann", roles=frozenset({Role.OPERATOR}), tenant_id="acme")
    record = sdk.sync.as_principal(ann).submit("general", "account 42")
    statuses = asked(create_app(sdk, authenticate=authenticate), 2, investigation_id=record.id)
    of_one = {label: found for label, found in statuses.items() if "{investigation_id}" in label}
    assert len(of_one) >= 12
    refusal = 403 if tenant == "acme" else 404
    for label, found in of_one.items():
        assert found <= {refusal, 422}, label
        assert refusal in found or "transition" in label, label
    assert statuses["GET /investigations/metrics"] <= {403, 422}
    assert sdk.sync.get(record.id).version == record.version
