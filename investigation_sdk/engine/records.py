"""Records: what the log has of each call, in all attempts that made it, as far as a resume needs to know.

Little is parsed: of a call that is made again as it was, its arguments are compared as text, and its result is parsed
when it is given back. What is not spelled as the SDK spells it today is parsed at once, and upcast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple

from pydantic_core import from_json

from investigation_sdk.domain.events import SCHEMA_VERSIONS
from investigation_sdk.domain.states import Effect
from investigation_sdk.domain.upcast import upcast
from investigation_sdk.engine.reading import texts_of
from investigation_sdk.engine.sound import readable
from investigation_sdk.storage.backend import Backend
from investigation_sdk.storage.codec import digest_of
from investigation_sdk.storage.commit import EventTexts
from investigation_sdk.storage.spelling import to_json

State = Literal["finished", "raised", "undone", "open"]
"""What is known of a call: it ended well; it raised; it had no effect, for certain; it began, and then nothing."""

_TYPES: Final = ("tool.started", "tool.completed", "tool.failed", "tool.interrupted", "tool.resolved")
_AS_TODAY: Final = {type: f'"schema":{SCHEMA_VERSIONS[type]},' for type in _TYPES}
"""What a header without metadata says where the event's data are of today's schema. In a string, quotes are escaped."""
_PAGE: Final = 1000
FEW: Final = 200
"""A page of them is short: where there is hardly anything to be read."""
_TAG: Final = '"$type"'
_SHOWN: Final = "{"
_METADATA: Final = '"metadata":'
_CALL: Final = '{"call":"'
_ID: Final = 36
"""Characters of an id."""


class Place(NamedTuple):
    """What two calls must have in common to be compared by their arguments."""

    parent: str | None
    """The first record of the call around."""
    phase: str | None
    tool: str
    version: str | None


def comparable(given: str, digest: str | None) -> str:
    """What two calls that are the same have in common of their arguments, from what is recorded of them: a digest; or
    the arguments as they are shown, where nobody can tell, see :func:`sure`.

    Raises:
        ValueError: `given` is not JSON.
    """
    if digest is not None:
        return digest
    try:
        return digest_of(given)
    except ValueError:  # a part of them is masked, or was too large
        return f"{_SHOWN}{to_json(from_json(given)).decode()}"


def sure(digest: str) -> bool:
    """Whether two calls in one place that have it in common are the same."""
    return not digest.startswith(_SHOWN)


def shown_whole(given: str) -> bool:
    """Whether no part of recorded arguments is tagged, so that none is masked or was too large."""
    return _TAG not in given


class Record:
    """One call, in all attempts that made it.

    Attributes:
        root: Id of its first record, which is also its idempotency key.
        id: Of its last record.
        place: Where it was made; the parent is the root of the call around.
        given: Its arguments, as they were recorded.
        by_text: A call of that place that is given the very same text is the same.
        plain: What `output` gives is what it returned: no part of it is tagged.
        error: With state `raised`, what it raised, as recorded.
        resolved: Somebody, or a ``reconcile`` function, has said what became of it.
        before: The same call, made and raised before this one began: this one tried again.
        made_good: A later try of it was given back.
    """

    __slots__ = (
        "_digest",
        "_output",
        "_text",
        "attempt",
        "before",
        "by_text",
        "effect",
        "error",
        "given",
        "id",
        "made_good",
        "place",
        "plain",
        "resolved",
        "root",
        "state",
    )

    def __init__(
        self, root: str, id: str, place: Place, effect: str | None, attempt: int, given: str, digest: str | None
    ) -> None:
        self.root: str = root
        self.id: str = id
        self.place: Place = place
        self.effect: str | None = effect
        self.attempt: int = attempt
        self.given: str = given
        self.by_text: bool = digest is None and shown_whole(given)
        self.state: State = "open"
        self.plain: bool = False
        self.error: dict[str, Any] | None = None
        self.resolved: bool = False
        self.before: Record | None = None
        self.made_good: bool = False
        self._digest: str | None = digest
        self._output: Any = None
        self._text: str | None = None

    @property
    def tool(self) -> str:
        """Its name."""
        return self.place.tool

    @property
    def digest(self) -> str:
        """See :func:`comparable`."""
        if self._digest is None:
            self._digest = comparable(self.given, None)
        return self._digest

    @property
    def sure(self) -> bool:
        """Whether it can be told that a call is the same."""
        return self.by_text or sure(self.digest)

    @property
    def as_it_stands(self) -> bool:
        """Its output is what it returned, of a tool that is no generator."""
        return self.plain and self.state == "finished" and not self.resolved

    @property
    def output(self) -> Any:
        """With state `finished`, the parsed JSON of what it returned.

        Raises:
            ValueError: it is not JSON.
        """
        return self._output if self._text is None else from_json(self._text).get("output")

    def same(self, given: str, digest: str | None) -> bool:
        """Whether a call of that place is certain to be the same, at first sight."""
        if digest is not None:
            return digest == self._digest
        return self.by_text and given == self.given

    def returned(self, text: str) -> None:
        """It finished, and an event of this text says so."""
        self.state, self.plain, self._text = "finished", True, text

    def ended(self, output: Any) -> None:
        """It finished, with this output."""
        self.state, self._output, self._text = "finished", output, None

    def becomes(self, now: Record) -> None:
        """More is known of it, or something else: as `now` has it, read from the log again."""
        self.state, self.plain, self.error, self.resolved = now.state, now.plain, now.error, now.resolved
        self._output, self._text = now._output, now._text


class _Head(NamedTuple):
    """The members of ``tool.started`` that many calls have in common."""

    place: Place
    """Outside of any call."""
    effect: str | None
    given: bool
    """The call was made by the block; the others were reported from elsewhere."""


def _head(data: dict[str, Any]) -> _Head:
    place = Place(None, data.get("phase"), data["tool"], data.get("version"))
    return _Head(place, data.get("effect"), data.get("source", "executed") in ("executed", "cached"))


class RecordReader:
    """Reads the events of calls, and puts them together. A log only grows: what was read need not be read again.

    Args:
        backend: Where they are.
        investigation_id: Whose.
        count_to: Count the calls of each tool up to this event.

    Attributes:
        counts: How often each tool was called, until then.
    """

    def __init__(self, backend: Backend, investigation_id: str, *, count_to: int = 0) -> None:
        self.counts: Counter[str] = Counter()
        self._backend = backend
        self._id = investigation_id
        self._count_to = count_to
        self._after = 0
        self._records: dict[str, Record] = {}
        self._calls: dict[str, Record] = {}
        self._heads: dict[str, _Head] = {}
        self._raised: dict[Place, dict[str, Record]] = {}

    async def read_on(self, page_size: int = _PAGE) -> None:
        """Read what is behind what was read.

        Raises:
            BackendUnavailable: the store does not answer.
            RecordUnreadable: an event is not what the SDK writes.
        """
        while True:
            page = await texts_of(self._backend, self._id, self._after, page_size, _TYPES)
            with readable(self._id) as at:
                for stored in page:
                    at.sequence = stored.sequence
                    self._add(stored)
            if page:
                self._after = page[-1].sequence
            if len(page) < page_size:
                return

    def records(self) -> Iterable[Record]:
        """Of each call, in the order in which they were made first."""
        return self._records.values()

    def _add(self, stored: EventTexts) -> None:
        sequence, event_type, header, text = stored
        if _AS_TODAY.get(event_type, _TAG) in header and _METADATA not in header and _TAG not in text:
            if event_type == "tool.started":
                if self._started_as_usual(sequence, header, text):
                    return
            elif event_type == "tool.completed" and text.startswith(_CALL):
                record = self._calls.get(text[len(_CALL) : len(_CALL) + _ID])
                if record is not None and (record := self._told_of(record, event_type)) is not None:
                    record.returned(text)
                return
        self._parse(stored)

    def _started_as_usual(self, sequence: int, header: str, text: str) -> bool:
        """Add what is spelled as nearly all are, without parsing it; whether it is."""
        before, _, behind = header.partition(',"id":"')
        common, _, rest = text.partition(',"started_at":')
        time, _, given = rest.partition(',"input":')
        if given[-2:] != "}}" or not time.isdigit():  # nothing there, or more behind the arguments
            return False
        head = self._heads.get(common)
        if head is None:
            head = self._heads[common] = _head(from_json(common + "}"))
        _, inside, parent = behind.partition('"parent_call":"')
        attempt = int(before.rpartition('"attempt":')[2])
        self._started(sequence, head, behind[:_ID], parent[:_ID] if inside else None, attempt, None, given[:-1], None)
        return True

    def _parse(self, stored: EventTexts) -> None:
        header: dict[str, Any] = from_json(stored.header)
        data = upcast(stored.event_type, header["schema"], from_json(stored.event_data))
        if stored.event_type == "tool.started":
            given = to_json(data.get("input")).decode()
            id, parent, again = header["id"], header.get("parent_call"), data.get("again")
            self._started(stored.sequence, _head(data), id, parent, header["attempt"], again, given, data.get("digest"))
        else:
            self._closed(stored.event_type, data, plain=_TAG not in stored.event_data)

    def _started(
        self,
        sequence: int,
        head: _Head,
        id: str,
        parent: str | None,
        attempt: int,
        again: str | None,
        given: str,
        digest: str | None,
    ) -> None:
        place, effect, by_block = head
        if sequence <= self._count_to:
            self.counts[place.tool] += 1
        if not by_block:
            return
        if parent is not None:
            around = self._calls.get(parent)
            place = place._replace(parent=parent if around is None else around.root)
        root = id if again is None else again
        record = Record(root, id, place, effect, attempt, given, digest)
        # A later record of the same call takes the place of the one before, which it made good.
        known = self._records.get(root)
        if known is not None:
            record.before = known.before
        elif (raised := self._raised.get(place)) is not None:
            record.before = raised.pop(record.digest, None)
        self._records[root] = self._calls[id] = record

    def _told_of(self, ended: Record, event_type: str) -> Record | None:
        """Of which record the end of a call tells: none, where a later one has taken its place; unless that was cut
        off, and what the earlier one returned late may be given back for it."""
        latest = self._records[ended.root]
        if latest is not ended:
            late = event_type == "tool.completed" and latest.state == "open" and latest.effect != Effect.UNSAFE
            return latest if late else None
        if ended.state == "finished" and not ended.resolved and event_type in ("tool.failed", "tool.interrupted"):
            return None  # an earlier one finished meanwhile
        return ended

    def _closed(self, event_type: str, data: dict[str, Any], *, plain: bool) -> None:
        ended = self._calls.get(data["call"])
        record = None if ended is None else self._told_of(ended, event_type)
        if record is None:
            return
        record.plain = plain
        if event_type == "tool.completed":
            record.ended(data.get("output"))
        elif event_type == "tool.failed":
            record.state, record.error = "undone" if data.get("no_effect") else "raised", data.get("error")
            if record.state == "raised" and sure(record.digest):
                self._raised.setdefault(record.place, {})[record.digest] = record
        elif event_type == "tool.interrupted":
            record.state = "undone" if data.get("kind") == "not_started" else "open"
        else:
            record.resolved = True
            record.state = "undone"
            if data.get("outcome") == "succeeded":
                record.ended(data.get("output"))
