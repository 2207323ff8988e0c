"""The SDK as a principal may use it."""

import inspect
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from investigation_sdk import (
    AccessDenied,
    InvalidArgument,
    InvalidStateTransition,
    InvestigationNotFound,
    InvestigationSDK,
    InvestigationState,
    Principal,
    PrincipalSDK,
    Resolution,
    Role,
    tool,
)
from investigation_sdk.engine.service import InvestigationStateService
from investigation_sdk.ids import uuid7
from investigation_sdk.principals import PrincipalService
from investigation_sdk.realtime.live import LiveReader
from investigation_sdk.security.methods import READS, WITHHELD, WITHHELD_COMMANDS
from investigation_sdk.security.roles import PERMISSIONS, Action, Scope, allows


def who(*roles: Role, id: str = "gil", tenant: str | None = "acme") -> Principal:
    return Principal(id=id, roles=frozenset(roles), tenant_id=tenant)


@pytest.fixture
def sdk(make_sdk: Callable[..., InvestigationSDK]) -> InvestigationSDK:
    return make_sdk("memory://")


@tool
def look() -> str:
    return "seen"


async def made(sdk: InvestigationSDK, owner: str, tenant: str | None = "acme") -> str:
    by = sdk.as_principal(who(Role.ADMIN, id="root", tenant=tenant))
    return (await by.service.create_investigation(owner, "account 42", "fraud")).id


async def call_in(sdk: InvestigationSDK, id: str) -> str:
    done = await sdk.service.record_tool_execution(id, None, "agent", "look", {})
    return done.id


Doing = Callable[[PrincipalSDK, str, str], Any]

ONE: dict[str, tuple[Action, Doing]] = {
    "get": (Action.READ, lambda s, i, c: s.get(i)),
    "progress": (Action.READ, lambda s, i, c: s.progress(i)),
    "phases": (Action.READ, lambda s, i, c: s.phases(i)),
    "tools": (Action.READ, lambda s, i, c: s.tools(i)),
    "tool_totals": (Action.READ, lambda s, i, c: s.tool_totals(i)),
    "changed_progress": (Action.READ, lambda s, i, c: s.changed_progress(i, [])),
    "resumes": (Action.READ, lambda s, i, c: s.resumes(i)),
    "resume_preview": (Action.READ, lambda s, i, c: s.resume_preview(i)),
    "snapshots": (Action.READ, lambda s, i, c: s.snapshots(i)),
    "events": (Action.READ, lambda s, i, c: s.events(i)),
    "iter_events": (Action.READ, lambda s, i, c: anext(s.iter_events(i))),
    "tail": (Action.READ, lambda s, i, c: anext(s.tail(i))),
    "payload": (Action.READ, lambda s, i, c: s.payload(i, {})),
    "verify": (Action.VERIFY, lambda s, i, c: s.verify(i)),
    "rebuild": (Action.REBUILD, lambda s, i, c: s.rebuild(i)),
    "check": (Action.VERIFY, lambda s, i, c: s.check(i)),
    "check, and repair": (Action.REBUILD, lambda s, i, c: s.check(i, repair=True)),
    "service.pause": (Action.PAUSE, lambda s, i, c: s.service.pause(i)),
    "service.resume": (Action.RESUME, lambda s, i, c: s.service.resume(i)),
    "service.cancel": (Action.CANCEL, lambda s, i, c: s.service.cancel(i)),
    "service.retry": (Action.RETRY, lambda s, i, c: s.service.retry(i)),
    "service.transition_state": (
        Action.TRANSITION,
        lambda s, i, c: s.service.transition_state(i, InvestigationState.CANCELLED, "why"),
    ),
    "service.record_tool_execution": (
        Action.REPORT,
        lambda s, i, c: s.service.record_tool_execution(i, None, "agent", "look", {}),
    ),
    "service.resolve": (
        Action.RESOLVE,
        lambda s, i, c: s.service.resolve(c, Resolution(outcome="failed")),
    ),
}
"""What concerns one investigation; the others are tested by name below."""
MANY = {"submit", "find", "lookup", "list", "metrics", "check_all", "service.create_investigation"}


def public(cls: type) -> set[str]:
    return {name for name, value in inspect.getmembers(cls, inspect.isroutine) if not name.startswith("_")}


def test_every_method_is_tested_for_its_guard() -> None:
    methods = public(PrincipalSDK) | {f"service.{name}" for name in public(PrincipalService)}
    assert methods == {name.partition(",")[0] for name in ONE} | MANY


def test_every_method_of_the_sdk_is_guarded_or_withheld_for_a_reason() -> None:
    given, own = public(PrincipalSDK), public(PrincipalService)
    inherited = public(LiveReader) - public(InvestigationSDK)
    assert not inherited
    assert given | set(WITHHELD) == public(InvestigationSDK)
    assert not given & set(WITHHELD)
    assert own | set(WITHHELD_COMMANDS) == public(InvestigationStateService)
    assert not own & set(WITHHELD_COMMANDS)
    assert all(len(reason) > 20 for reason in [*WITHHELD.values(), *WITHHELD_COMMANDS.values()])
    shown = {name for name, value in vars(PrincipalSDK).items() if isinstance(value, property)}
    assert shown == {"principal"}, "nothing else of the SDK may be reached through it"


def test_what_a_table_names_exists_and_needs_what_the_table_says() -> None:
    assert {name: action for name, (action, _) in ONE.items() if name in READS} == {
        name: READS[name] for name in READS if name not in MANY
    }
    assert set(READS) <= public(LiveReader)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("owner", ["gil", "ana"])
async def test_each_method_does_what_the_table_allows(sdk: InvestigationSDK, role: Role, owner: str) -> None:
    id = await made(sdk, owner)
    call = await call_in(sdk, id)
    principal = who(role)
    for name, (action, do) in ONE.items():
        error = await raised(do(sdk.as_principal(principal), id, call))
        if allows(principal, action, owner=owner, tenant="acme"):  # what it does may yet not fit the state
            assert error is None or isinstance(error, InvalidStateTransition | InvalidArgument), (name, error)
        else:
            assert isinstance(error, AccessDenied), (name, error)
            assert (error.action, error.principal_id, error.investigation_id) == (action.value, "gil", id)
            assert "admin" in str(error)


async def raised(doing: Any) -> Exception | None:
    try:
        await doing
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("tenant", [None, "beta"])
async def test_what_is_another_tenants_is_not_found_as_what_does_not_exist(
    sdk: InvestigationSDK, tenant: str | None
) -> None:
    id = await made(sdk, "gil")
    call = await call_in(sdk, id)
    for roles in ((Role.ADMIN,), ()):
        stranger = sdk.as_principal(who(*roles, tenant=tenant))
        for name, (_, do) in ONE.items():
            with pytest.raises(InvestigationNotFound) as there:
                await do(stranger, id, call)
            unknown = str(uuid7())
            with pytest.raises(InvestigationNotFound) as nowhere:
                await do(stranger, unknown, unknown)
            told = str(there.value).replace(id, "ID").replace(call, "ID")
            assert told == str(nowhere.value).replace(unknown, "ID"), name


async def test_lists_have_what_may_be_seen(sdk: InvestigationSDK) -> None:
    mine, anas = await made(sdk, "gil"), await made(sdk, "ana")
    await made(sdk, "gil", "beta")
    await made(sdk, "gil", None)
    seen = [one.id for one in await sdk.as_principal(who(Role.VIEWER)).list()]
    assert seen == [anas, mine]
    own = sdk.as_principal(who(Role.INVESTIGATOR))
    assert [one.id for one in await own.list()] == [mine]
    with pytest.raises(AccessDenied, match="beyond its own"):
        await own.list(user_id="ana")
    nobody = sdk.as_principal(who())
    with pytest.raises(AccessDenied, match="may not read"):
        await nobody.list()
    with pytest.raises(AccessDenied, match="may not read"):
        await nobody.find(key="k")
    with pytest.raises(AccessDenied, match="may not metrics"):
        await own.metrics(since=timedelta(days=1))
    report = await sdk.as_principal(who(Role.AUDITOR)).metrics(since=timedelta(days=1))
    assert report.started == 2


async def test_what_is_meant_is_found_among_what_may_be_seen(sdk: InvestigationSDK) -> None:
    anas = await sdk.as_principal(who(Role.OPERATOR)).submit("fraud", "a", user_id="ana", key="k")
    for reference in ("k", anas.id, anas.id.replace("-", "")):
        assert (await sdk.as_principal(who(Role.VIEWER)).lookup(reference)).id == anas.id
        for other in (who(Role.INVESTIGATOR), who(Role.ADMIN, tenant="beta"), who(Role.ADMIN, tenant=None)):
            with pytest.raises(InvestigationNotFound):
                await sdk.as_principal(other).lookup(reference)
        with pytest.raises(AccessDenied, match="may not read"):
            await sdk.as_principal(who()).lookup(reference)


async def test_calls_across_investigations_are_those_of_the_tenant(sdk: InvestigationSDK) -> None:
    ids = [await made(sdk, "gil"), await made(sdk, "ana"), await made(sdk, "gil", "beta"), await made(sdk, "gil", None)]
    for id in ids:
        await call_in(sdk, id)
    since = timedelta(days=1)
    seen = await sdk.as_principal(who(Role.VIEWER)).tools(since=since)
    assert [call.investigation_id for call in seen] == [ids[1], ids[0]]
    with pytest.raises(AccessDenied, match="beyond its own"):
        await sdk.as_principal(who(Role.INVESTIGATOR)).tools(since=since)
    with pytest.raises(AccessDenied, match="may not read"):
        await sdk.as_principal(who()).tools(since=since)


async def test_all_rows_are_checked_within_the_tenant_and_repaired_by_admins(sdk: InvestigationSDK) -> None:
    ids = [await made(sdk, "gil"), await made(sdk, "ana")]
    await made(sdk, "gil", "beta")
    auditor = sdk.as_principal(who(Role.AUDITOR))
    assert [report.investigation_id async for report in auditor.check_all()] == ids
    for refused in (auditor.check_all(repair=True), sdk.as_principal(who(Role.OPERATOR)).check_all()):
        with pytest.raises(AccessDenied):
            await anext(refused)
    assert [report.ok async for report in sdk.as_principal(who(Role.ADMIN)).check_all(repair=True)] == [True, True]


def test_without_await_it_is_the_same(make_sdk: Callable[..., InvestigationSDK]) -> None:
    sdk = make_sdk("memory://")
    own = sdk.sync.as_principal(who(Role.INVESTIGATOR))
    mine = own.submit("fraud", "a")
    assert (mine.user_id, mine.tenant_id) == ("gil", "acme")
    assert own.get(mine.id) == mine
    assert next(event.actor for event in own.iter_events(mine.id)) == "gil"
    assert own.service.cancel(mine.id, "by phone").status == InvestigationState.CANCELLED
    assert [event.event_type for event in own.tail(mine.id)][-1] == "investigation.cancelled"
    with pytest.raises(AccessDenied, match="may not verify"):
        own.verify(mine.id)
    names = {name for name in public(PrincipalSDK) if not name.startswith("_")}
    assert names == public(type(own))
    assert public(PrincipalService) == public(type(own.service))


async def test_what_is_created_is_its_own_and_in_its_tenant(sdk: InvestigationSDK) -> None:
    own = sdk.as_principal(who(Role.INVESTIGATOR))
    for record in (
        await own.submit("fraud", "a", key="k"),
        await own.service.create_investigation(None, "b", "fraud"),
    ):
        assert (record.user_id, record.tenant_id) == ("gil", "acme")
    found = await own.find(key="k", investigation_type="fraud")
    assert found is not None
    assert found.subject == "a"
    for refused in (
        own.submit("fraud", "a", user_id="ana"),
        own.service.create_investigation("ana", "b", "fraud"),
        sdk.as_principal(who(Role.VIEWER)).submit("fraud", "c"),
    ):
        with pytest.raises(AccessDenied, match="may not create"):
            await refused
    others = await sdk.as_principal(who(Role.OPERATOR)).submit("fraud", "a", user_id="ana", key="of ana")
    assert others.user_id == "ana"
    for trying in (
        own.submit("fraud", "a", key="of ana"),
        own.service.create_investigation(None, "a", "fraud", key="of ana"),
    ):
        with pytest.raises(AccessDenied, match="may not read"):  # a key does not show what is another's
            await trying


async def test_a_change_by_hand_wants_a_reason_and_every_command_names_who_gave_it(sdk: InvestigationSDK) -> None:
    id = await made(sdk, "ana")
    agent = Principal(id="bot", roles=frozenset({Role.ADMIN}), tenant_id="acme", kind="agent", on_behalf_of="ana")
    admin = sdk.as_principal(agent)
    for reason in (None, "  "):
        with pytest.raises(InvalidArgument, match="reason"):
            await admin.service.transition_state(id, InvestigationState.CANCELLED, reason)
    await admin.service.record_tool_execution(id, None, "agent", "look", {})
    await admin.service.transition_state(id, InvestigationState.CANCELLED, "asked by phone")
    actors = [(event.event_type, event.actor) for event in await admin.events(id)]
    assert actors[0] == ("investigation.created", "root")
    assert {actor for kind, actor in actors if kind.startswith(("tool.", "investigation.cancelled"))} == {
        "bot on behalf of ana"
    }


async def test_an_actor_cannot_be_given(sdk: InvestigationSDK) -> None:
    id = await made(sdk, "ana")
    service = sdk.as_principal(who(Role.ADMIN)).service
    done = await service.record_tool_execution(id, None, "agent", "look", {}, actor="somebody else")
    events: list[Any] = [event async for event in _all(sdk, id)]
    assert {event.actor for event in events if event.event_type.startswith("tool.")} == {"gil"}
    assert done.source == "reported"


async def _all(sdk: InvestigationSDK, id: str) -> AsyncIterator[Any]:
    async for event in sdk.iter_events(id):
        yield event


async def test_an_sdk_of_one_tenant_is_for_its_principals(make_sdk: Callable[..., InvestigationSDK]) -> None:
    sdk = make_sdk("memory://", tenant_id="acme")
    assert len(await sdk.as_principal(who(Role.VIEWER)).list()) == 0
    for tenant in (None, "beta"):
        with pytest.raises(AccessDenied, match="another tenant"):
            sdk.as_principal(who(Role.ADMIN, tenant=tenant))


def test_a_principal_has_an_id() -> None:
    with pytest.raises(ValidationError, match="recorded as the actor"):
        Principal(id=" ")
    assert all(scope in (Scope.OWN, Scope.TENANT) for row in PERMISSIONS.values() for scope in row.values())
