"""What PostgreSQL's tables are made with, and no other store's."""

import asyncio

import asyncpg

from investigation_backends.postgres import PostgresBackend


async def test_rows_that_change_leave_room_on_their_page(postgres_store: str) -> None:
    backend = PostgresBackend(postgres_store)
    await backend.open()
    await backend.close()
    connection = await asyncpg.connect(postgres_store.replace("postgresql+asyncpg://", "postgresql://"))
    async with asyncio.timeout(20):
        options = await connection.fetchval("SELECT reloptions FROM pg_class WHERE relname = 'investigations'")
    await connection.close()
    assert options == ["fillfactor=70"]
