"""The drivers: motor's client or pymongo's asynchronous one behind one face, and nothing of either beyond this module.

They differ in what must be awaited. That, and the types that motor does not have, ends here.
"""

from __future__ import annotations

import importlib
import inspect
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, cast

from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, ConfigurationError, InvalidURI, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.uri_parser import parse_uri

from investigation_sdk import errors
from investigation_sdk.storage.registry import check_server_url

from .errors import DUPLICATE
from .names import Document

Driver = Literal["motor", "pymongo"]
Sort = Sequence[tuple[str, int]]
Write = UpdateOne

_CLIENTS: Final[dict[str, tuple[str, str]]] = {
    "motor": ("investigation_backends.mongodb.motor_client", "MotorClient"),
    "pymongo": ("pymongo", "AsyncMongoClient"),
}
_PORT: Final = 27017
_NO_INDEX: Final = 27


@dataclass(frozen=True)
class Target:
    """What to connect to, and how.

    Attributes:
        url: With password; for the driver alone.
        place: Hosts and database, for messages.
        database: Its name.
        make: The class of the client.
        options: Of the client.
        write_timeout_ms: How long a majority may take to confirm a write.
    """

    url: str
    place: str
    database: str
    make: Callable[..., Any]
    options: Mapping[str, Any]
    write_timeout_ms: int


def client_class(driver: str) -> Callable[..., Any]:
    """The class of a driver's client.

    Raises:
        ConfigurationError: it is not installed.
    """
    module, name = _CLIENTS[driver]
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise errors.ConfigurationError(
            f"mongodb needs {error.name or module!r}, which is not installed; "
            "run: pip install 'investigation-sdk[mongo]'"
        ) from error
    return found


class Place(NamedTuple):
    """What a URL names."""

    shown: str
    database: str


def describe(url: str) -> Place:
    """The hosts and the database of a URL, checked.

    Raises:
        ConfigurationError: it cannot be read, or names no database. Never shows a password.
    """
    check_server_url(url)
    try:
        # a URL of mongodb+srv is looked up in the DNS when it is parsed: that is for the client to do
        parsed = None if url.startswith("mongodb+srv://") else parse_uri(url, warn=False)
    except OSError as error:
        raise _no_file(url, error) from None
    except (ConfigurationError, InvalidURI, ValueError) as error:
        if (option := _bad_option(url)) is not None:
            raise errors.ConfigurationError(
                f"mongodb: {option!r} is no option of the store's or of MongoDB's connection strings, or does not take "
                "that value"
            ) from None
        raise errors.ConfigurationError(
            f"mongodb: the URL cannot be read ({_without_password(str(error), url)}); "
            "write mongodb://user:password@host:27017/database, with a password percent-encoded"
        ) from None
    hosts, _, rest = url.partition("://")[2].rpartition("@")[2].partition("/")
    database = urllib.parse.unquote(rest.partition("?")[0])
    if parsed is not None:
        database = parsed["database"] or ""
        hosts = ",".join(f"{host}:{port or _PORT}" if port else host for host, port in parsed["nodelist"])
    if not database:
        raise errors.ConfigurationError("mongodb: the URL names no database; write mongodb://host:27017/database")
    return Place(f"mongodb://{hosts}/{database}", database)


def _bad_option(url: str) -> str | None:
    """Which of MongoDB's options in a URL is refused; the driver's message does not say."""
    for name, value in urllib.parse.parse_qsl(url.partition("?")[2]):
        try:
            parse_uri(f"mongodb://host/?{urllib.parse.urlencode({name: value})}", warn=False)
        except (ConfigurationError, InvalidURI, ValueError, OSError):
            return name
    return None


def _no_file(url: str, error: OSError) -> errors.ConfigurationError:
    """The error for a URL in which an option names a file that cannot be read."""
    option = _bad_option(url)
    named = dict(urllib.parse.parse_qsl(url.partition("?")[2])).get(option or "", "")
    return errors.ConfigurationError(
        f"mongodb: {option or 'an option'} names a file that cannot be read, {named!r} ({error.strerror or error}); "
        "correct the path, or let this user read it"
    )


def _without_password(text: str, url: str) -> str:
    place = url.partition("://")[2].rpartition("@")[0]
    for secret in (place, place.partition(":")[2], urllib.parse.unquote(place.partition(":")[2])):
        if secret:
            text = text.replace(secret, "***")
    return text


class Collection:
    """One collection, as this package uses it: lists in, lists out, duplicates answered rather than raised."""

    def __init__(self, collection: Any) -> None:
        self._it = collection

    async def find(
        self,
        where: Document,
        *,
        fields: Mapping[str, Any] | None = None,
        sort: Sort | None = None,
        limit: int = 0,
        hint: str | None = None,
    ) -> list[Document]:
        """All that match, at most `limit` unless it is 0."""
        cursor = self._it.find(where, fields, limit=limit)
        if sort is not None:
            cursor = cursor.sort(list(sort))
        if hint is not None:
            cursor = cursor.hint(hint)
        found: list[Document] = await cursor.to_list(None)
        return found

    async def one(self, where: Document, *, fields: Mapping[str, Any] | None = None) -> Document | None:
        """One that matches, or None."""
        found: Document | None = await self._it.find_one(where, fields)
        return found

    async def aggregate(self, pipeline: Sequence[Document]) -> list[Document]:
        """What a pipeline answers."""
        cursor = await _awaited(self._it.aggregate(list(pipeline)))
        found: list[Document] = await cursor.to_list(None)
        return found

    async def insert(self, documents: Sequence[RawBSONDocument]) -> None:
        """Insert each on its own.

        Raises:
            BulkWriteError: some were not inserted.
        """
        await self._it.insert_many(documents, ordered=False)

    async def insert_one(self, document: Document) -> bool:
        """Insert one; False where its place is taken."""
        try:
            await self._it.insert_one(document)
        except PyMongoError as error:
            if getattr(error, "code", None) == DUPLICATE:
                return False
            raise
        return True

    async def insert_new(self, documents: Sequence[Document]) -> frozenset[int]:
        """Insert those whose place is free; answer the places, in `documents`, of the others.

        Raises:
            BulkWriteError: one of them failed for another reason.
        """
        if not documents:
            return frozenset()
        try:
            await self._it.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            details: Any = error.details
            if details["writeConcernErrors"] or any(one["code"] != DUPLICATE for one in details["writeErrors"]):
                raise
            return frozenset(cast("int", one["index"]) for one in details["writeErrors"])
        return frozenset()

    async def write(self, writes: Sequence[Write]) -> Written:
        """Do each on its own, duplicates aside.

        Raises:
            BulkWriteError: one of them failed for another reason.
        """
        if not writes:
            return Written(0, frozenset(), frozenset())
        try:
            result = await self._it.bulk_write(list(writes), ordered=False)
        except BulkWriteError as error:
            details: Any = error.details
            others = [one for one in details["writeErrors"] if one["code"] != DUPLICATE]
            if others or details["writeConcernErrors"]:
                raise
            refused = frozenset(cast("int", one["index"]) for one in details["writeErrors"])
            new = frozenset(cast("int", one["index"]) for one in details["upserted"])
            return Written(details["nMatched"], new, refused)
        return Written(result.matched_count, frozenset(result.upserted_ids or {}), frozenset())

    async def update(self, where: Document, change: Document | Sequence[Document]) -> int:
        """Change all that match; how many were changed by this call."""
        result = await self._it.update_many(where, change)
        changed: int = result.modified_count
        return changed

    async def put(self, where: Document, change: Document | Sequence[Document]) -> None:
        """Change the one that matches, or make it."""
        await self._it.update_one(where, change, upsert=True)

    async def change_one(
        self, where: Document, change: Document | Sequence[Document], *, make: bool = False
    ) -> Document | None:
        """Change one, or make it; the document as it is then."""
        found: Document | None = await self._it.find_one_and_update(where, change, upsert=make, return_document=True)
        return found

    async def delete(self, where: Document) -> int:
        """Delete all that match; how many."""
        result = await self._it.delete_many(where)
        deleted: int = result.deleted_count
        return deleted

    async def make_index(self, keys: Sort, name: str, **options: Any) -> None:
        """Make an index; one that is there already is left."""
        await self._it.create_index(list(keys), name=name, **options)

    async def drop_index(self, name: str) -> None:
        """Drop an index; one that is not there, or that another process drops first, is gone as well."""
        try:
            await self._it.drop_index(name)
        except OperationFailure as error:
            if error.code != _NO_INDEX:
                raise

    async def indexes(self) -> dict[str, Document]:
        """All indexes by name."""
        found: dict[str, Document] = await self._it.index_information()
        return found


class Written(NamedTuple):
    """What a bulk of writes did: how many matched, and by their place in it, which were made and which refused."""

    matched: int
    made: frozenset[int]
    refused: frozenset[int]
    """A document of that `_id` is there, and did not match."""


class Client:
    """A client, and the database of one URL, which it reads and writes as the contract wants it.

    Made on the loop that it is used on. Whatever the URL says, reads are from the primary and see what a majority
    has; writes are acknowledged by a majority, from its journals.
    """

    def __init__(self, target: Target) -> None:
        try:
            self._client = target.make(target.url, **target.options)
        except OSError as error:  # of mongodb+srv, whose URL is parsed here
            raise _no_file(target.url, error) from None
        concern = WriteConcern("majority", j=True, wtimeout=target.write_timeout_ms)
        self._database = self._client.get_database(
            target.database,
            write_concern=concern,
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
        )
        self._collections: dict[str, Collection] = {}

    def __getitem__(self, name: str) -> Collection:
        found = self._collections.get(name)
        if found is None:
            found = self._collections[name] = Collection(self._database[name])
        return found

    async def hello(self) -> Document:
        """What the server says of itself."""
        found: Document = await self._client.admin.command("hello")
        return found

    async def names(self) -> list[str]:
        """The names of all collections."""
        found: list[str] = await self._database.list_collection_names()
        return found

    async def make_collection(self, name: str) -> None:
        """Make a collection that is not there."""
        await self._database.create_collection(name)

    async def close(self) -> None:
        """Close all connections."""
        await _awaited(self._client.close())


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
