"""What a batch of commits does: look at what each stands on, then insert one document for each, all at once.

ADR 0022 says why an insert that only competes for its place is enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from investigation_backends.checks import refuse_id
from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.storage.commit import APPLIED, CONFLICT, Commit, CommitResult, CommitStatus, chunks

from . import keys, leases
from .documents import blob_name, commit_document, encoded, reference
from .errors import DRIVER_ERRORS, DUPLICATE, batch_failed, own_fault
from .link import Link, clock
from .marks import STALLED, Marks
from .names import Document, slot

_AT_ONCE: Final = 20
_MESSAGE: Final = 32 * 1024 * 1024
"""Bytes of documents that are inserted by one command; servers take 48,000,000."""
_STALLED: Final = 3600.0
"""Seconds after which what was looked at before an insert is looked at again behind it."""


class Batch:
    """Commits on their way, each with its document until it is answered."""

    def __init__(self, link: Link, marks: Marks, commits: Sequence[Commit]) -> None:
        self._link = link
        self._marks = marks
        self._commits = commits
        self._answers: list[CommitResult | None] = [None] * len(commits)
        self._documents: list[Document] = []
        self._raw: list[RawBSONDocument | None] = []
        self.applied: list[Document] = []
        """The documents of the commits that were applied."""
        self.tried: list[str] = []
        """Investigations on which one was sent to the server."""

    async def run(self) -> list[CommitResult]:
        """Apply what can be applied; answer all.

        Raises:
            CommitNotApplied, CommitUnknown, StoreFailure: see the contract.
        """
        link = self._link
        try:
            now = await link.server_now()
            self._encode(now)
            looked = clock()
            await self._look_at_heads()
            await self._look_at_creations(now)
            for wave in self._waves():
                for part in self._messages([n for n in wave if self._answers[n] is None]):
                    await self._insert(part)
            if clock() - looked > STALLED:
                await self._marks.put(self.tried, await link.server_now(exact=True), again=True)
            if clock() - looked > _STALLED:
                await self._look_again()
        except DRIVER_ERRORS as error:
            raise batch_failed(error, link.place, written=bool(self.applied)) from error
        return [answer or CONFLICT for answer in self._answers]

    # ------------------------------------------------------------------ before the insert

    def _encode(self, now: int) -> None:
        for n, commit in enumerate(self._commits):
            document = commit_document(commit, now)
            raw = encoded(document, self._link.limit)
            self._documents.append(document)
            if isinstance(raw, CommitResult):
                self._answers[n] = raw
                self._raw.append(None)
            else:
                self._raw.append(raw)

    def _open(self) -> Iterable[tuple[int, Commit]]:
        return [(n, commit) for n, commit in enumerate(self._commits) if self._answers[n] is None]

    async def _look_at_heads(self) -> None:
        """Refuse what does not stand on a head that is, or was, in the log."""
        unknown: list[tuple[int, Commit]] = []
        for n, commit in self._open():
            if not commit.expected_version:
                continue
            allowed = self._link.heads.allows(commit.investigation_id, commit.expected_version, commit.expected_head)
            if allowed is None:
                unknown.append((n, commit))
            elif not allowed:
                self._answers[n] = CONFLICT
        for start in range(0, len(unknown), _AT_ONCE):
            await asyncio.gather(*(self._prove(n, commit) for n, commit in unknown[start : start + _AT_ONCE]))

    async def _prove(self, n: int, commit: Commit) -> None:
        id, version = commit.investigation_id, commit.expected_version
        where = {"investigation_id": id, "version": version}
        found = await self._link.commits.one(where, fields={"head": 1})
        if found is None or found.get("head") != commit.expected_head:
            self._answers[n] = CONFLICT
        else:
            self._link.heads.seen(id, version, commit.expected_head)

    async def _look_at_creations(self, now: int) -> None:
        """Refuse ids of another time, and children without their parent."""
        creations = [(n, commit) for n, commit in self._open() if not commit.expected_version]
        here = {commit.investigation_id for _, commit in creations}
        for n, commit in creations:
            refusal = await self._refuse_time(commit.investigation_id, now)
            parent = _parent(commit)
            if refusal is None and parent is not None and parent not in here and not await exists(self._link, parent):
                refusal = _no_parent(parent)
            if refusal is not None:
                taken = await self._link.commits.one({"_id": slot(commit.investigation_id, 0)}, fields={"_id": 1})
                self._answers[n] = refusal if taken is None else CONFLICT

    async def _refuse_time(self, id: str, now: int) -> CommitResult | None:
        if refuse_id(id, now) is None:
            return None
        return refuse_id(id, await self._link.server_now(exact=True))

    def _waves(self) -> list[list[int]]:
        """What is inserted together. A child comes behind its parent, and a key behind the same key."""
        waves: list[list[int]] = [[]]
        place: dict[str, int] = {}
        for n, commit in self._open():
            document = self._documents[n]
            names = [commit.investigation_id] if not commit.expected_version else []
            names += [f"key {document['key']}"] if "key" in document else []
            before = [*names, *([parent] if names and (parent := _parent(commit)) else [])]
            wave = max((place[name] + 1 for name in before if name in place), default=0)
            place.update(dict.fromkeys(names, wave))
            if wave == len(waves):
                waves.append([])
            waves[wave].append(n)
        return waves

    def _messages(self, wave: Sequence[int]) -> Iterable[list[int]]:
        """What fits into one message. The driver would cut it up as well, and not tell which part has failed."""
        part: list[int] = []
        size = 0
        for n in wave:
            raw = self._raw[n]
            size += 0 if raw is None else len(raw.raw)
            if part and size > _MESSAGE:
                yield part
                part, size = [], 0 if raw is None else len(raw.raw)
            part.append(n)
        yield part

    # ------------------------------------------------------------------ the insert

    async def _insert(self, wave: Sequence[int]) -> None:
        wave = [n for n in wave if await self._parent_is_there(n)] if self.applied else list(wave)
        if not wave:
            return
        taken, _, _, new_keys = await asyncio.gather(
            self._take_leases(wave), self._put_blobs(wave), self._mark(wave), self._take_keys(wave)
        )
        tried, wave = wave, [n for n in wave if self._answers[n] is None]
        raw = [document for n in wave if (document := self._raw[n]) is not None]
        errors: dict[int, Any] = {}
        try:
            if raw:
                await self._link.commits.insert(raw)
        except BulkWriteError as error:
            details: Any = error.details
            errors = {one["index"]: one for one in details["writeErrors"]}
            if details["writeConcernErrors"] or not self._are_own_faults(errors.values()):
                written = details["nInserted"] > 0 or bool(self.applied)
                raise batch_failed(error, self._link.place, written=written) from error
        for place, n in enumerate(wave):
            if place in errors:
                continue
            commit = self._commits[n]
            self._answers[n] = APPLIED
            self.applied.append(self._documents[n])
            last = commit.events[-1]
            self._link.heads.seen(commit.investigation_id, last.sequence, last.hash)
        # only now: where a look-up fails, it is known already that others were applied
        refusals = await asyncio.gather(*(self._refusal(wave[place], fault) for place, fault in errors.items()))
        for place, refusal in zip(errors, refusals, strict=True):
            self._answers[wave[place]] = refusal
        for n in tried:
            if self._answers[n] is not APPLIED:
                if n in taken:
                    await leases.give_back(self._link, taken[n])
                if n in new_keys:
                    await keys.give_back(self._link, new_keys[n], self._commits[n].investigation_id)

    async def _parent_is_there(self, n: int) -> bool:
        """A parent of the same batch may not have been created."""
        parent = _parent(self._commits[n]) if not self._commits[n].expected_version else None
        if parent is None or await exists(self._link, parent):
            return True
        self._answers[n] = _no_parent(parent)
        return False

    @staticmethod
    def _are_own_faults(errors: Iterable[Any]) -> bool:
        return all(one["code"] == DUPLICATE or own_fault(one) is not None for one in errors)

    async def _refusal(self, n: int, error: Any) -> CommitResult:
        """Why one document was not inserted."""
        if (answer := own_fault(error)) is not None:
            return answer
        key = self._documents[n].get("key")
        place = None if key is None else await self._place(n)
        if key is None or place is None or keys.LOST not in place:
            return CONFLICT
        holder = await keys.successor(self._link, key, self._commits[n].investigation_id)
        return CONFLICT if holder is None else self._key_taken(n, holder)

    async def _without_key(self, n: int, holder: str) -> CommitResult:
        """What a creation is told whose key another has; where its own place is taken too, that counts."""
        place = await self._place(n)
        return self._key_taken(n, holder) if place is None or keys.LOST in place else CONFLICT

    async def _place(self, n: int) -> Document | None:
        """What stands where a commit is to come."""
        return await self._link.commits.one({"_id": self._documents[n]["_id"]}, fields={keys.LOST: 1})

    def _key_taken(self, n: int, holder: str) -> CommitResult:
        row = self._commits[n].rows[0]
        assert isinstance(row, InvestigationRow)
        return CommitResult(CommitStatus.CONSTRAINT, holder, f"the key {row.key!r} is taken")

    async def _take_keys(self, wave: Sequence[int]) -> dict[int, str]:
        """Take the keys of creations, and refuse those whose key another has; answer which were free."""
        wanted: dict[str, int] = {key: n for n in wave if (key := self._documents[n].get("key")) is not None}
        if not wanted:
            return {}
        who = {key: self._commits[n].investigation_id for key, n in wanted.items()}
        others, new = await keys.take(self._link, who, await self._link.server_now())
        for key, holder in others.items():
            self._answers[wanted[key]] = await self._without_key(wanted[key], holder)
        return {wanted[key]: key for key in new}

    async def _take_leases(self, wave: Sequence[int]) -> dict[int, Any]:
        """Take the leases of creations, before anybody can see these; answer which of them were free."""
        wanted = [(n, lease) for n in wave if (lease := self._commits[n].lease) is not None]
        return await leases.take(self._link, wanted) if wanted else {}

    async def _mark(self, wave: Sequence[int]) -> None:
        """Say that these investigations may have commits whose rows are not written."""
        ids = list({self._commits[n].investigation_id for n in wave})
        self.tried += ids
        self._marks.begin(ids)
        await self._marks.put(ids, await self._link.server_now())

    async def _put_blobs(self, wave: Sequence[int]) -> None:
        """Write the pieces of blobs, before the documents that make them visible.

        `pending` says that a piece may belong to no commit yet, and since when; see the janitor.
        """
        writes: list[UpdateOne] = []
        size = 0
        now = await self._link.server_now()
        for n in wave:
            commit = self._commits[n]
            by = reference(slot(commit.investigation_id, commit.expected_version), commit.id)
            for digest, data in dict(commit.blobs).items():
                name = blob_name(commit.investigation_id, digest)
                for position, piece in enumerate(chunks(data)):
                    new = {"blob": name, "investigation_id": commit.investigation_id, "data": piece}
                    change = {"$set": {"pending": now}, "$setOnInsert": new, "$addToSet": {"by": by}}
                    writes.append(UpdateOne({"_id": f"{name}/{position}"}, change, upsert=True))
                    size += len(piece)
                    if size > self._link.limit:
                        await self._link.blobs.write(writes)
                        writes, size = [], 0
        await self._link.blobs.write(writes)

    # ------------------------------------------------------------------ after a stall

    async def _look_again(self) -> None:
        """After hours between look and insert, an investigation may have been deleted and its places swept."""
        for n, commit in enumerate(self._commits):
            if self._answers[n] is APPLIED and commit.expected_version:
                self._link.heads.forget(commit.investigation_id)
                self._answers[n] = None
                await self._prove(n, commit)
                document = self._documents[n]
                if self._answers[n] is not None:
                    await self._link.commits.delete({"_id": document["_id"], "commit_id": commit.id})
                    self.applied.remove(document)
                    self._link.heads.forget(commit.investigation_id)
                else:
                    self._answers[n] = APPLIED


async def exists(link: Link, investigation_id: str) -> bool:
    """Whether an investigation is there, and not deleted."""
    found = await link.commits.one({"_id": slot(investigation_id, 0)}, fields={"deleted": 1})
    return found is not None and "deleted" not in found


def _parent(commit: Commit) -> str | None:
    row = commit.rows[0]
    assert isinstance(row, InvestigationRow)
    return row.parent_investigation_id


def _no_parent(parent: str) -> CommitResult:
    return CommitResult(CommitStatus.CONSTRAINT, None, f"parent investigation {parent} is not there")
