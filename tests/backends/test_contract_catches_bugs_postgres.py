"""The contract suite, tested on PostgreSQL: bugs are planted in the store, and it must notice each."""

import asyncio
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from investigation_backends.postgres import PostgresBackend
from investigation_backends.sql import postgres_write
from investigation_backends.sql.postgres_driver import DRIVER_ERRORS
from investigation_backends.sql.postgres_errors import answer
from investigation_backends.sql.postgres_statements import Statements
from investigation_sdk.storage.backend import CommitNotApplied
from investigation_sdk.storage.commit import APPLIED, Commit, CommitResult
from investigation_sdk.testing.contract import BackendContract, StoreUnderTest, opened
from investigation_sdk.testing.servers import Postgres

pytestmark = pytest.mark.server

Patch = pytest.MonkeyPatch
Sql = Callable[[str], object]


class Bug(NamedTuple):
    """A bug, and the test of the contract that must notice it."""

    plant: Callable[[Patch, Sql], object]
    by: str
    raising: type[Exception] = AssertionError


def _rewritten(*changes: tuple[str, str]) -> Callable[[Patch, Sql], object]:
    """Statements in which a part is replaced by another, wherever it is."""

    def plant(patch: Patch, sql: Sql) -> None:
        make = Statements.__init__

        def change(statement: str) -> str:
            for old, new in changes:
                statement = re.sub(old, new, statement)
            return statement

        def changed(self: Any, names: Any) -> None:
            make(self, names)
            before = dict(vars(self))
            for name, value in before.items():
                if isinstance(value, str):
                    setattr(self, name, change(value))
                elif isinstance(value, dict):
                    setattr(self, name, {key: change(text) for key, text in value.items()})
                elif callable(value):
                    setattr(self, name, lambda value=value, **options: change(value(**options)))
            plain = [value for value in before.values() if isinstance(value, str)]
            texts = [*plain, *before["restore"].values(), before["apply"](created=False, phases=True, tools=True)]
            assert any(change(text) != text for text in texts), "the statements say something else now"

        patch.setattr(Statements, "__init__", changed)

    return plant


def _tables(statement: str) -> Callable[[Patch, Sql], object]:
    """Tables that were changed."""
    return lambda _, sql: sql(statement)


def a_poison_fails_the_batch(patch: Patch, sql: Sql) -> None:
    async def apart(connection: Any, statements: Any, commits: Sequence[Commit]) -> list[CommitResult]:
        await connection.execute("SAVEPOINT part")
        try:
            return await postgres_write.apply(connection, statements, commits)
        except DRIVER_ERRORS as error:
            await connection.execute("ROLLBACK TO SAVEPOINT part")
            return [answer(error)] * len(commits)

    patch.setattr(postgres_write, "apply_apart", apart)


def a_poison_is_half_applied(patch: Patch, sql: Sql) -> None:
    apart = postgres_write.apply_apart

    async def half(connection: Any, statements: Any, commits: Sequence[Commit]) -> list[CommitResult]:
        results = await apart(connection, statements, commits)
        for commit, result in zip(commits, results, strict=True):
            if result.status == "data":
                commit.events, rows = commit.events[:1], commit.rows
                commit.rows = [rows[0]._replace(version=commit.expected_version + 1, head=commit.events[0].hash)]  # type: ignore[call-arg]
                await postgres_write.apply(connection, statements, [commit])
        return results

    patch.setattr(postgres_write, "apply_apart", half)


def commits_without_the_end(patch: Patch, sql: Sql) -> None:
    async def endless(connection: Any, statements: Any, commits: Sequence[Commit], _: float) -> list[CommitResult]:
        await connection.execute(postgres_write.BEGIN)
        return await postgres_write.apply_apart(connection, statements, commits)

    patch.setattr(postgres_write, "transaction", endless)


def answers_in_another_order(patch: Patch, sql: Sql) -> None:
    apply = postgres_write.apply

    async def sorted_(connection: Any, statements: Any, commits: Sequence[Commit]) -> list[CommitResult]:
        return sorted(await apply(connection, statements, commits), key=lambda result: result.status)

    patch.setattr(postgres_write, "apply", sorted_)


def looks_before_it_locks(patch: Patch, sql: Sql) -> None:
    """What was right when it was looked at is acknowledged: between look and write, another one writes."""
    commit = PostgresBackend.commit

    async def looking(self: PostgresBackend, commits: Sequence[Commit]) -> Sequence[CommitResult]:
        seen: list[Any] = [await self.get("investigation", one.investigation_id) for one in commits]
        await asyncio.sleep(0.002)
        results = await commit(self, commits)
        return [
            APPLIED if row is not None and row.version == one.expected_version else result
            for one, row, result in zip(commits, seen, results, strict=True)
        ]

    patch.setattr(PostgresBackend, "commit", looking)


_NAP = r"WHERE (SELECT pg_sleep(random() * 0.1))::text IS NOT NULL AND \1 AND i.investigation_type"
"""Between looking at the leases and looking at the queue, some time goes by: others come first, or are slower."""

_QUEUE_NAPS = (r"WHERE ((?:(?!WHERE).)*?) AND i\.investigation_type", _NAP)
_STEALS = (r"(expires_at = excluded\.expires_at) WHERE l\.expires_at <= clock_timestamp\(\) (RETURNING l\.)", r"\1 \2")

SLOW: dict[str, Bug] = {"the queue is slow": Bug(_rewritten(_QUEUE_NAPS), "test_each_goes_to_one_of_many")}
"""No bugs, but what brings the ones below to light: the contract must not mind."""

BUGS = {
    "the queue takes what others took meanwhile": Bug(
        _rewritten(_QUEUE_NAPS, _STEALS), "test_each_goes_to_one_of_many"
    ),
    "the queue asks for no lease": Bug(
        _rewritten((r"AND NOT EXISTS \(SELECT 1 FROM [^ ]+ AS l WHERE l\.resource = i\.id::text.*?\) ORDER", "ORDER")),
        "test_a_long_queue_of_held_ones_hides_nothing",
    ),
    "the queue knows no time": Bug(
        _rewritten((r" AND i\.claimable_at <= clock_timestamp\(\)", "")), "test_only_what_is_claimable_is_taken"
    ),
    "the queue knows no priority": Bug(
        _rewritten(
            (r"i\.priority DESC, i\.id", "i.id"), (r"OVER \(ORDER BY priority DESC, id\)", "OVER (ORDER BY id)")
        ),
        "test_the_queue_is_taken_in_order",
    ),
    "no check of versions": Bug(
        _rewritten((r"h\.version = c\.expected_version AND ", ""), (r"AND version = \$2::int8", "AND $2::int8 > 0")),
        "test_another_version_conflicts_though_the_head_is_right",
    ),
    "no check of heads": Bug(
        _rewritten((r" AND h\.head = c\.expected_head", ""), (r"AND head = \$3::bytea", "AND $3::bytea IS NOT NULL")),
        "test_another_head_conflicts",
    ),
    "losers' rows are written": Bug(
        _rewritten(
            (r"(\$\d+::json\[\].*?) JOIN won ON won\.id = r\.investigation_id ON CONFLICT", r"\1 ON CONFLICT"),
            (r"(\)\) AS r\([^)]*\)), won ON CONFLICT", r"\1 ON CONFLICT"),
        ),
        "test_another_version_conflicts",
    ),
    "a key without a constraint": Bug(_tables("DROP INDEX uq_investigations_key"), "test_a_key_is_taken_once"),
    "a key for all generations": Bug(
        _tables(
            "DROP INDEX uq_investigations_key; "
            "CREATE UNIQUE INDEX uq_investigations_key ON investigations(tenant_id, investigation_type, key)"
        ),
        "test_a_key_is_one_with_tenant_type_and_generation",
        CommitNotApplied,
    ),
    "no tombstones": Bug(
        _rewritten((r", t AS \(INSERT INTO .*? FROM gone\)", "")), "test_a_deleted_id_never_comes_back"
    ),
    "events outlive their investigation": Bug(
        _rewritten((r" e AS \(DELETE FROM .*? gone\.id\), ", "")), "test_everything_goes"
    ),
    "no cascade": Bug(
        _tables(
            "ALTER TABLE investigation_blobs DROP CONSTRAINT fk_investigation_blobs_investigation_id_investigations"
        ),
        "test_blobs_go_with_their_investigation",
    ),
    "deletes at any version": Bug(
        _rewritten((r"AND version = \$2 RETURNING", "AND $2::int8 >= 0 RETURNING")), "test_only_at_the_given_version"
    ),
    "put_rows goes backwards": Bug(
        _rewritten((r"WHERE h\.version <= c\.version ", ""), (r" WHERE excluded\.sequence >= t\.sequence", "")),
        "test_older_rows_are_not_written",
    ),
    "claim ignores the holder": Bug(
        _rewritten((r"WHERE l\.owner = excluded\.owner OR l\.expires_at <= clock_timestamp\(\) ", "")),
        "test_one_owner_at_a_time",
    ),
    "leases in milliseconds": Bug(_rewritten(("1 microsecond", "1 millisecond")), "test_expired_is_free"),
    "lost leases are renewed": Bug(_rewritten((r" AND c\.owner = l\.owner", "")), "test_a_lost_lease_is_not_renewed"),
    "snapshots are lost": Bug(
        _tables("CREATE RULE no AS ON INSERT TO investigation_snapshots DO INSTEAD NOTHING"),
        "test_a_snapshot_comes_with_its_commit",
    ),
    "times in milliseconds": Bug(
        _tables("ALTER TABLE investigation_events ALTER event_timestamp TYPE timestamptz(3)"),
        "test_a_commit_is_stored_as_it_is",
    ),
    "money as floats": Bug(
        _tables("ALTER TABLE tool_executions ALTER cost_estimate TYPE float8"), "test_sums_of_money_are_exact"
    ),
    "JSON that is made tidy": Bug(
        _tables(
            "CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.event_data = btrim(NEW.event_data, E' \\t\\r\\n'); RETURN NEW; END $$; "
            "CREATE TRIGGER tidy BEFORE INSERT ON investigation_events FOR EACH ROW EXECUTE FUNCTION tidy()"
        ),
        "test_text_is_kept_byte_for_byte",
    ),
    "a poison fails the batch": Bug(a_poison_fails_the_batch, "test_one_poison_among_fifty_that_append"),
    "a poison is half applied": Bug(a_poison_is_half_applied, "test_one_poison_among_fifty_that_create"),
    "commits without the end": Bug(commits_without_the_end, "test_what_was_applied_is_there_after_reopening"),
    "answers in another order": Bug(answers_in_another_order, "test_many_are_answered_in_order"),
    "looks before it locks": Bug(looks_before_it_locks, "test_no_update_is_lost"),
}


@pytest.fixture
def database(postgres: Postgres, _postgres_template: str) -> Iterator[str]:
    name = postgres.create_database(template=_postgres_template)
    yield name
    postgres.drop_database(name)


def passes(url: str, name: str, folder: Path, raising: type[Exception] = AssertionError) -> bool:
    class Contract(BackendContract):
        def new_store(self, folder: Path) -> StoreUnderTest:
            return StoreUnderTest(lambda: PostgresBackend(url), url=url)

    async def one() -> None:
        contract = Contract()
        async with opened(contract.new_store(folder)) as store, asyncio.timeout(60):
            await getattr(contract, name)(store)

    try:
        asyncio.run(one())
    except raising:  # anything else, such as by a statement that cannot be run, is no notice
        return False
    except BaseExceptionGroup as errors:  # of several tasks
        if errors.subgroup(raising) is None:
            raise
        return False
    return True


def test_without_a_bug_all_of_these_pass(postgres: Postgres, database: str, tmp_path: Path) -> None:
    for bug in BUGS.values():
        postgres.sql(
            "TRUNCATE investigations, investigation_leases, investigation_tombstones CASCADE", database=database
        )
        assert passes(postgres.url_of(database), bug.by, tmp_path), bug.by


@pytest.mark.parametrize("name", SLOW)
def test_what_is_slow_and_right_passes(
    name: str, postgres: Postgres, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SLOW[name].plant(monkeypatch, functools.partial(postgres.sql, database=database))
    assert passes(postgres.url_of(database), SLOW[name].by, tmp_path)


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_noticed(
    name: str, postgres: Postgres, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug = BUGS[name]
    bug.plant(monkeypatch, functools.partial(postgres.sql, database=database))
    assert not passes(postgres.url_of(database), bug.by, tmp_path, bug.raising), (
        f"the contract's {bug.by} does not notice"
    )
