"""What the tests on MongoDB's protocol share: a raw client, failures on command, backends that are closed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import urllib.parse
from collections.abc import AsyncGenerator, Generator
from typing import Any

from pymongo import MongoClient

from investigation_backends.mongo import MongoBackend
from investigation_backends.mongodb.deleting import UNFINISHED
from investigation_backends.mongodb.janitor import Swept, sweep
from investigation_backends.mongodb.names import COMMITS, DELETIONS
from investigation_sdk.storage.registry import create_backend


@functools.cache
def _client(url: str) -> Any:
    client: Any = MongoClient(url)
    return client


def raw(url: str) -> Any:
    """The database of a URL, by pymongo's blocking client."""
    parts = urllib.parse.urlsplit(url)
    return _client(parts._replace(path="/").geturl())[parts.path[1:]]


@contextlib.contextmanager
def failing(url: str, *commands: str, times: int | None = None, **how: Any) -> Generator[None]:
    """The server fails these commands: ``errorCode=…``, ``closeConnection=True``, ``writeConcernError=…``."""
    admin = raw(url).client.admin
    mode: Any = "alwaysOn" if times is None else {"times": times}
    admin.command("configureFailPoint", "failCommand", mode=mode, data={"failCommands": list(commands), **how})
    try:
        yield
    finally:
        admin.command("configureFailPoint", "failCommand", mode="off")


@contextlib.asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncGenerator[MongoBackend]:
    """An open backend without a janitor, unless it is asked for."""
    backend = create_backend(url, {"janitor_interval": 0.0, **options})
    assert isinstance(backend, MongoBackend)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


def pending(url: str) -> int:
    """How many commits have no rows yet, and how many deletions are not finished."""
    database = raw(url)
    rows = {row["_id"]: row["version"] for row in database["investigations"].find({}, {"version": 1})}
    commits = database[COMMITS].find({"deleted": {"$exists": False}})
    behind: int = sum("commit_id" in one and one["version"] > rows.get(one["investigation_id"], 0) for one in commits)
    unfinished: int = database[DELETIONS].count_documents({UNFINISHED: {"$gt": 0}})
    return behind + unfinished


async def swept(backend: MongoBackend) -> Swept:
    """Sweep away, too, what may still be wanted otherwise."""
    assert backend._link is not None
    assert backend._behind is not None
    return await sweep(backend._link, backend._behind.marks, grace=-1_000_000)


def stored(url: str, kind: str = "investigations") -> list[Any]:
    """What is in a collection."""
    return list(raw(url)[kind].find().sort("_id"))


async def until(condition: Any) -> None:
    """Wait for it."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not happen")
