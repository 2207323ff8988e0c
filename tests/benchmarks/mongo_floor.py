"""The least that MongoDB's protocol allows: the documents of our commits, and nothing but `insert_many` of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from investigation_backends.mongo import MongoBackend
from investigation_backends.mongodb.driver import Client, Collection
from investigation_backends.mongodb.migrations import INDEXES
from investigation_backends.mongodb.names import COMMITS, slot
from investigation_sdk import InvestigationSDK
from investigation_sdk.ids import uuid7
from tests.benchmarks.contestants import INVESTIGATIONS, Runner, argument, noop, recorded, repeat


class Floor:
    """Per call one document, as a commit of ours is, durable before the call returns; one `insert_many` for what
    waits, by the same client, with the same write concern, on the caller's own loop. The documents are copies of one:
    nothing is decided, chained or encoded as JSON, nothing is compared, no rows are written, no index but `_id`."""

    def __init__(self, collection: Collection, template: dict[str, Any]) -> None:
        self.collection = collection
        self.template = template
        self.loop = asyncio.get_running_loop()
        self.waiting: list[Any] = []
        self.task: asyncio.Task[None] | None = None

    async def _drain(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting, []
            await self.collection.insert([document for document, _ in batch])
            for _, future in batch:
                future.set_result(None)
        self.task = None

    def investigation(self) -> Callable[[dict[str, Any]], Any]:
        """A recorded no-op in an investigation of its own."""
        id, version = uuid7(), 0

        async def call(d: dict[str, Any]) -> Any:
            nonlocal version
            result = await noop(d)
            document = {**self.template, "_id": slot(id, version), "investigation_id": id, "expected_version": version}
            version += 2
            future = self.loop.create_future()
            self.waiting.append((RawBSONDocument(bson.encode(document)), future))
            if self.task is None:
                self.task = self.loop.create_task(self._drain())
            await future
            return result

        return call


async def _template(url: str) -> dict[str, Any]:
    """The document of a commit that records one call, as it is inserted."""
    inserted: list[Any] = []
    insert = Collection.insert

    async def watched(self: Collection, documents: Any) -> None:
        inserted.extend(documents)
        await insert(self, documents)

    Collection.insert = watched  # type: ignore[method-assign]
    try:
        async with InvestigationSDK(url) as sdk, sdk.investigation("benchmark"):
            for n in range(20):
                await recorded(argument(n))
    finally:
        Collection.insert = insert  # type: ignore[method-assign]
    return max(
        (bson.decode(one.raw) for one in inserted if b"tool.completed" in one.raw), key=lambda one: len(str(one))
    )


@asynccontextmanager
async def _floor(url: str, *, indexed: bool) -> AsyncIterator[Floor]:
    backend = MongoBackend(url)
    await backend.upgrade()
    template = await _template(url)
    client = Client(backend._target)
    collection = client[f"{COMMITS}_floor"]
    for index in INDEXES[COMMITS] if indexed else ():
        await collection.make_index(index.keys, index.name, **index.options)
    yield Floor(collection, template)
    await client.close()


@asynccontextmanager
async def floor_many(url: str, *, indexed: bool = False) -> AsyncIterator[Runner]:
    """100 investigations at the same time; into a collection without indexes, or with those that ours has."""
    async with _floor(url, indexed=indexed) as it:
        calls = [it.investigation() for _ in range(INVESTIGATIONS)]

        async def run(n: int) -> None:
            await asyncio.gather(*(repeat(call, n // INVESTIGATIONS) for call in calls))

        yield run
