"""The API does what its description says, asked in every way that the description allows."""

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from investigation_sdk import InvestigationSDK
from investigation_sdk.api import create_app

SLOW = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)


def test_every_answer_is_as_described() -> None:
    sdk = InvestigationSDK("memory://")
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(sdk, allow_anonymous=True))
    asked: list[str] = []
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()

        @settings(max_examples=8, deadline=None, suppress_health_check=SLOW, database=None, derandomize=True)
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            case.call_and_validate()

        ask()
        asked.append(operation.label)
    assert len(asked) >= 16, asked
    sdk.sync.close()
