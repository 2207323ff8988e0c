"""Who may watch, where nobody says: who may read it, by the table of roles."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from investigation_sdk import InvestigationSDK, Principal, Role
from investigation_sdk.realtime.access import may_watch


@pytest.mark.parametrize(
    ("watcher", "of_gil", "of_ann"),
    [
        (Principal(id="gil", roles=frozenset({Role.INVESTIGATOR})), True, False),
        (Principal(id="gil", roles=frozenset({Role.VIEWER})), True, True),
        (Principal(id="gil"), False, False),
        (Principal(id="gil", roles=frozenset({Role.ADMIN}), tenant_id="acme"), False, False),
        (SimpleNamespace(id="gil", roles=frozenset({"investigator"}), tenant_id=None), True, False),
        (SimpleNamespace(id="gil", roles=frozenset({"emperor"}), tenant_id=None), False, False),
    ],
)
def test_the_table_decides(make_sdk: Callable[..., InvestigationSDK], watcher: Any, of_gil: bool, of_ann: bool) -> None:
    sdk = make_sdk("memory://")
    for owner, expected in (("gil", of_gil), ("ann", of_ann)):
        with sdk.investigation("s", user_id=owner) as investigation:
            pass
        assert may_watch(watcher, sdk.sync.get(investigation.id)) is expected
