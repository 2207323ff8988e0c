"""The reading side of the SDK object: investigations, phases, calls and events, as records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from investigation_sdk.arguments import (
    FLAG,
    LIMIT,
    NAMES_OR_NONE,
    PAGE_OR_NONE,
    POSITION,
    TEXT,
    TEXT_OR_NONE,
    check,
)
from investigation_sdk.domain.metrics import MetricsReport
from investigation_sdk.domain.progress_record import InvestigationProgress
from investigation_sdk.domain.records import (
    Investigation,
    InvestigationEvent,
    InvestigationPhase,
    InvestigationSnapshot,
    Page,
    RowsReport,
    ToolExecution,
    ToolTotals,
    VerificationReport,
)
from investigation_sdk.domain.resumes import ResumePreview, ResumeReport
from investigation_sdk.domain.states import Effect, InvestigationState, ToolState
from investigation_sdk.engine import measuring, queries, reading, rebuilding, resumes, verifying
from investigation_sdk.engine.lookup import lookup
from investigation_sdk.engine.queries import When, created_between, in_states
from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.engine.sight import Sight, equals
from investigation_sdk.engine.texts import clean
from investigation_sdk.engine.tracker import ProgressTracker
from investigation_sdk.errors import InvalidArgument
from investigation_sdk.ids import Id, canonical
from investigation_sdk.storage.backend import Backend, types_of
from investigation_sdk.storage.commit import Where


class InvestigationReader:
    """What is read back from a store; the base of :class:`InvestigationSDK`."""

    _recorder: Recorder
    _look: queries.Look = staticmethod(reading.get_row)
    _seen_as: Sight | None = None

    tracker: ProgressTracker
    """How far investigations are."""

    @property
    def _sight(self) -> Sight:
        """Whose investigations are seen."""
        return self._recorder.sight if self._seen_as is None else self._seen_as

    def _place(self, id: str) -> tuple[Backend, str, Sight]:
        """Where an investigation is looked for, and whose it must be."""
        return self._recorder.backend, id, self._sight

    async def get(self, investigation_id: Id) -> Investigation:
        """One investigation, with all of its result, configuration and metadata, however large.

        Raises:
            InvestigationNotFound: there is none of that id.
        """
        id = canonical(investigation_id)
        return await self._recorder.acall(queries.whole_investigation(*self._place(id), look=self._look))

    async def find(self, *, key: str, investigation_type: str = "general") -> Investigation | None:
        """The newest investigation of a key, or None."""
        check(key=(key, TEXT), investigation_type=(investigation_type, TEXT))
        found = queries.find(self._recorder.backend, clean(key), investigation_type, self._sight.keys())
        row = await self._recorder.acall(found)
        return None if row is None else queries.investigation(row)

    async def lookup(self, reference: str, *, investigation_type: str | None = None) -> Investigation:
        """The investigation that somebody means: by its id, its key, or the beginning of its id, in this order.

        Args:
            reference: Ids may be without hyphens. Of a key, the newest investigation is meant.
            investigation_type: Where a key occurs in several types.

        Raises:
            InvestigationNotFound: there is none.
            AmbiguousReference: several are meant; `candidates` has their ids.
        """
        found = lookup(self._recorder.backend, reference, investigation_type, self._sight)
        return queries.investigation(await self._recorder.acall(found))

    async def list(
        self,
        *,
        investigation_type: str | None = None,
        status: InvestigationState | Sequence[InvestigationState] | None = None,
        user_id: str | None = None,
        since: When | None = None,
        until: When | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[Investigation]:
        """Investigations, newest first; `since` and `until` bound their creation."""
        check(
            investigation_type=(investigation_type, NAMES_OR_NONE),
            user_id=(user_id, NAMES_OR_NONE),
            after=(after, PAGE_OR_NONE),
            limit=(limit, LIMIT),
        )
        wheres = [
            *created_between(since, until),
            *equals("investigation_type", investigation_type),
            *in_states("status", InvestigationState, status),
            *self._sight.investigations(user_id),
        ]
        page = queries.list_investigations(self._recorder.backend, wheres, after, limit)
        return await self._recorder.acall(page)

    async def progress(self, investigation_id: Id, *, include_tools: bool = True) -> InvestigationProgress:
        """How far an investigation is, what runs now, and when it may be done.

        Args:
            investigation_id: Which one; whoever drives it, in whatever process.
            include_tools: False: the summary form, without the list of calls and of changes of state. It takes the
                same few reads however many calls there were.

        Raises:
            InvestigationNotFound: there is none of that id.
        """
        check(include_tools=(include_tools, FLAG))
        place = self._place(canonical(investigation_id))
        return await self._recorder.acall(self.tracker.at(*place, with_tools=include_tools))

    async def changed_progress(
        self, investigation_id: Id, known: Sequence[str], *, include_tools: bool = True
    ) -> InvestigationProgress | None:
        """As :meth:`progress`, for who asks again and again: None where nothing changed, which takes one short read.

        Args:
            investigation_id: See there.
            known: What ``progress.tag`` was in answers of the same form. While it runs, it is another one every 5 s at
                least: estimates, and what was reported within one percent, are not older than that.
            include_tools: See there.

        Raises:
            InvestigationNotFound: there is none of that id.
        """
        check(known=(known, NAMES_OR_NONE), include_tools=(include_tools, FLAG))
        place = self._place(canonical(investigation_id))
        changed = self.tracker.at_unless(*place, known, with_tools=include_tools)
        return await self._recorder.acall(changed)

    async def phases(self, investigation_id: Id) -> Sequence[InvestigationPhase]:
        """All phases of an investigation, in their order."""
        id = canonical(investigation_id)
        return await self._recorder.acall(queries.list_phases(*self._place(id)))

    async def tools(
        self,
        investigation_id: Id | None = None,
        *,
        tool: str | None = None,
        agent: str | None = None,
        phase: str | None = None,
        status: ToolState | Sequence[ToolState] | None = None,
        effect: Effect | None = None,
        since: When | None = None,
        until: When | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[ToolExecution]:
        """Calls of one investigation in the order of their start, or across all, newest first.

        Args:
            investigation_id: None: across investigations; `since` is required then.
            tool: Name of the tool.
            agent: Name of the agent.
            phase: The name of a phase; needs `investigation_id`.
            status: One state, or several.
            effect: Declared effect.
            since: Calls that began at or after it.
            until: Calls that began before it.
            after: ``next`` of the page before.
            limit: Calls at most, 1 to 1000.

        Raises:
            InvalidArgument: neither an id nor `since`; or `phase` without an id.
        """
        check(
            tool=(tool, NAMES_OR_NONE),
            agent=(agent, NAMES_OR_NONE),
            phase=(phase, TEXT_OR_NONE),
            after=(after, PAGE_OR_NONE),
            limit=(limit, LIMIT),
        )
        id = None if investigation_id is None else canonical(investigation_id)
        if id is None and since is None:
            raise InvalidArgument("tools() across all investigations needs since=, for example since=timedelta(days=7)")
        if id is None and phase is not None:
            raise InvalidArgument("tools(phase=...) names a phase of one investigation; give its id too")
        wheres = [
            *(self._sight.calls() if id is None else equals("investigation_id", id)),
            *created_between(since, until),
            *equals("tool_name", tool),
            *equals("agent_name", agent),
            *in_states("status", ToolState, status),
            *in_states("effect", Effect, effect),
        ]
        return await self._recorder.acall(self._tools(id, phase, wheres, after, limit))

    async def tool_totals(self, investigation_id: Id) -> Sequence[ToolTotals]:
        """What the calls of an investigation add up to, by phase, agent and tool; calls of no phase first.

        Raises:
            InvestigationNotFound: there is none of that id.
        """
        return await self._recorder.acall(queries.tool_totals(*self._place(canonical(investigation_id))))

    async def resumes(self, investigation_id: Id) -> Sequence[ResumeReport]:
        """How each attempt that went on with recorded results differs from those before it: calls that were given back,
        ran again, were new, were no longer made, or did not fit; in the order of the attempts.

        Raises:
            InvestigationNotFound: there is none of that id.
        """
        return await self._recorder.acall(resumes.resumes(*self._place(canonical(investigation_id))))

    async def resume_preview(self, investigation_id: Id) -> ResumePreview:
        """What a resume would make of the recorded calls now: what is given back, runs again, or is asked about.

        It goes by the log alone. Whether a result can still be given back, only the tools as they are then can tell.

        Raises:
            InvestigationNotFound: there is none of that id.
        """
        return await self._recorder.acall(resumes.preview(*self._place(canonical(investigation_id))))

    async def _tools(
        self, id: str | None, phase: str | None, wheres: Sequence[Where], after: str | None, limit: int
    ) -> Page[ToolExecution]:
        backend = self._recorder.backend
        if id is not None:
            await reading.get_row(*self._place(id))
            if phase is not None:
                wheres = [*wheres, Where("phase_id", "=", await queries.phase_named(backend, id, phase))]
        return await queries.list_tools(backend, wheres, after, limit, newest_first=id is None)

    async def events(
        self,
        investigation_id: Id,
        *,
        event_type: str | Sequence[str] | None = None,
        actor: str | None = None,
        after: int | str = 0,
        limit: int = 100,
    ) -> Page[InvestigationEvent]:
        """Events of an investigation behind the sequence `after`, in order."""
        check(
            event_type=(event_type, NAMES_OR_NONE),
            actor=(actor, TEXT_OR_NONE),
            after=(after, POSITION),
            limit=(limit, LIMIT),
        )
        id = canonical(investigation_id)
        page = queries.read_events(*self._place(id), types_of(event_type), actor, int(after), limit)
        return await self._recorder.acall(page)

    async def iter_events(
        self, investigation_id: Id, *, event_type: str | Sequence[str] | None = None, after: int = 0
    ) -> AsyncIterator[InvestigationEvent]:
        """All events behind the sequence `after`, in order, read as they are consumed."""
        check(event_type=(event_type, NAMES_OR_NONE), after=(after, POSITION))
        id = canonical(investigation_id)
        chunks = queries.iterate_events(*self._place(id), types_of(event_type), int(after))
        while True:
            chunk = await self._recorder.acall(queries.next_or_none(chunks))
            if chunk is None:
                return
            for event in chunk:
                yield event

    async def payload(self, investigation_id: Id, value: Any) -> Any:
        """What was recorded, in full: ``await sdk.payload(call.investigation_id, call.output_result)``.

        Records that come in lists have a :class:`LargePayload` in the place of what is larger than
        ``max_inline_bytes``. This gives `value`, any part of a record, with each of them read. It is checked
        against its digest.

        Raises:
            InvestigationNotFound: there is none of that id.
            InvestigationError: the store does not have what the log refers to.
        """
        return await self._recorder.acall(queries.whole_value(*self._place(canonical(investigation_id)), value))

    async def metrics(
        self, *, since: When, until: When | None = None, investigation_type: str | None = None
    ) -> MetricsReport:
        """What the investigations that were created in a time add up to: rates, durations, transitions.

        The time that it takes grows with their number; the memory does not.

        Args:
            since: Those created at or after it; a timedelta is that long ago.
            until: Those created before it.
            investigation_type: Of this type only.
        """
        check(investigation_type=(investigation_type, NAMES_OR_NONE))
        wheres = [
            *created_between(since, until),
            *equals("investigation_type", investigation_type),
            *self._sight.investigations(),
        ]
        return await self._recorder.acall(measuring.measure(self._recorder.backend, wheres))

    async def verify(
        self, investigation_id: Id, *, progress: Callable[[int], object] | None = None
    ) -> VerificationReport:
        """Check an investigation's chain of hashes, its columns, the payloads that are kept beside it, and the end
        that its row states.

        Without a head that was written down outside the store, a tail that was cut off together with the row
        cannot be seen; compare ``report.head`` with one that you kept.

        Args:
            investigation_id: Which one.
            progress: Called now and then with the number of events checked so far, on the SDK's own thread: to
                be quick, and not to use the SDK.
        """
        return await self._recorder.acall(verifying.verify(*self._place(canonical(investigation_id)), progress))

    async def snapshots(
        self, investigation_id: Id, *, after: str | None = None, limit: int = 100
    ) -> Page[InvestigationSnapshot]:
        """Snapshots of an investigation, the newest first: its row, those of its phases, its open calls, and how often
        each tool was called, as of one event.

        Raises:
            InvestigationNotFound: there is none of that id.
        """
        check(after=(after, PAGE_OR_NONE), limit=(limit, LIMIT))
        place = self._place(canonical(investigation_id))
        return await self._recorder.acall(queries.list_snapshots(*place, after, limit))

    async def rebuild(self, investigation_id: Id) -> int:
        """Make all rows of an investigation again, from its events alone; how many they are.

        Rows that are newer than what they would be replaced with stay. What was reported of progress since the last
        event is left out.

        Raises:
            InvestigationNotFound: there is none of that id.
            RecordUnreadable: the log is not what was written, or the row states another end of it; nothing was written.
        """
        return await self._recorder.acall(rebuilding.rebuild(*self._place(canonical(investigation_id))))

    async def check(
        self,
        investigation_id: Id,
        *,
        repair: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> RowsReport:
        """Compare the rows of an investigation with what its log adds up to.

        Args:
            investigation_id: Which one.
            repair: Make them again, as :meth:`rebuild` does, where one is damaged or missing. A row that is ahead of
                the log is evidence that events are gone: it is reported, and stays.
            progress: Called now and then with the number of events that were folded, on the SDK's own thread: to be
                quick, and not to use the SDK.

        Raises:
            InvestigationNotFound: there is none of that id.
        """
        place = self._place(canonical(investigation_id))
        return await self._recorder.acall(rebuilding.check(*place, repair=repair, progress=progress))

    async def check_all(
        self,
        *,
        investigation_type: str | None = None,
        repair: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> AsyncIterator[RowsReport]:
        """As :meth:`check`, one investigation after another, as they are consumed. One that cannot be read has a
        report that says so, and the next one follows."""
        check(investigation_type=(investigation_type, NAMES_OR_NONE))
        wheres = [
            *equals("investigation_type", investigation_type),
            *self._sight.investigations(),
        ]
        reports = rebuilding.check_all(self._recorder.backend, wheres, repair=repair, progress=progress)
        while True:
            report = await self._recorder.acall(queries.next_or_none(reports))
            if report is None:
                return
            yield report
