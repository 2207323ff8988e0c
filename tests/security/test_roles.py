"""The table of permissions: everything that it does not allow is denied, and nothing crosses a tenant."""

from hypothesis import given
from hypothesis import strategies as st

from investigation_sdk import Principal, Role
from investigation_sdk.security.roles import PERMISSIONS, Action, Scope, allows, scope_of

NAMES = st.sampled_from(["gil", "ana", None])
TENANTS = st.sampled_from([None, "", "acme", "beta"])
ROLES = st.frozensets(st.sampled_from(list(Role)))


@given(roles=ROLES, action=st.sampled_from(list(Action)), owner=NAMES, mine=TENANTS, its=TENANTS)
def test_a_principal_may_what_one_of_its_roles_allows_within_its_tenant(
    roles: frozenset[Role], action: Action, owner: str | None, mine: str | None, its: str | None
) -> None:
    principal = Principal(id="gil", roles=roles, tenant_id=mine)
    reach = [PERMISSIONS[role].get(action, Scope.NONE) for role in roles]
    same = (mine or "") == (its or "")
    expected = same and (Scope.TENANT in reach or (Scope.OWN in reach and owner == "gil"))
    assert allows(principal, action, owner=owner, tenant=its) is expected


def test_no_role_is_no_permission_and_every_role_is_in_the_table() -> None:
    assert set(PERMISSIONS) == set(Role)
    assert all(scope_of(Principal(id="x"), action) == Scope.NONE for action in Action)


def test_only_admins_change_states_by_hand_and_only_auditors_and_they_verify() -> None:
    assert [role for role, row in PERMISSIONS.items() if Action.TRANSITION in row] == [Role.ADMIN]
    assert [role for role, row in PERMISSIONS.items() if Action.VERIFY in row] == [Role.AUDITOR, Role.ADMIN]


def test_who_only_looks_commands_nothing() -> None:
    looking = {Action.READ, Action.VERIFY, Action.METRICS}
    assert set(PERMISSIONS[Role.VIEWER]) <= looking
    assert set(PERMISSIONS[Role.AUDITOR]) <= looking
