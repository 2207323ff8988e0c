"""Dispatch: how an engine that runs tasks, such as Celery, is told of investigations, and runs them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, runtime_checkable

Outcome = Literal["completed", "failed", "cancelled", "paused", "queued", "released", "busy"]
"""What became of an investigation that was to be run: it reached that state; or

- ``queued``: it failed, and is to be tried again, from `again_at` on;
- ``released``: it was left as it is, for whoever takes it up next;
- ``busy``: somebody else drives it, and may yet die: try again later.
"""


class Executed(NamedTuple):
    """What became of one run of an investigation."""

    investigation_id: str
    outcome: Outcome
    again_at: datetime | None = None
    """With ``queued``: from when on it is to be tried again."""


@runtime_checkable
class Dispatcher(Protocol):
    """Tells an engine that an investigation can be taken up. ``InvestigationSDK(dispatcher=…)``.

    Without one, nobody is told: a ``sdk.worker()`` looks into the store by itself, and an SDK whose dispatcher lost
    a message is helped by one, too. With one, :meth:`dispatch` is awaited

    - after ``sdk.submit`` has made an investigation, or found one of that key that is still queued,
    - after ``service.create_investigation(queue=True)``, ``service.retry``, and a ``service.resume`` of one that
      nobody drives,
    - after a run that failed and is to be tried again, with `not_before`.

    The investigation is durable before that. What :meth:`dispatch` raises is logged, with what to do, and not raised:
    the investigation is queued, and stays so. The same id may be dispatched any number of times, and a task may be
    delivered any number of times, to any number of processes: whoever is second finds it ``busy``, or in a state in
    which nothing is to be done.
    """

    async def dispatch(self, investigation_id: str, investigation_type: str, *, not_before: datetime | None) -> None:
        """Have it run by the engine. Must not block: it may be awaited on the thread that does the SDK's input and
        output; what blocks belongs into :func:`asyncio.to_thread`.

        Args:
            investigation_id: Its id; all that the task needs.
            investigation_type: For routing, such as a queue per type.
            not_before: Not before this time (UTC); None: at once.
        """
        ...


@runtime_checkable
class ExecutingDispatcher(Dispatcher, Protocol):
    """A dispatcher whose engine's tasks run in processes that have the SDK object, and its handlers, too."""

    def bind(self, execute: Callable[[str], Executed]) -> None:
        """Called once, by the SDK that is made with it.

        `execute(investigation_id)` is what a task does: it takes the investigation up, runs its handler, and blocks
        until that has ended; an ``async def`` handler runs on a loop of its own. It is called on any thread that runs
        no loop. An investigation that was begun before is resumed: finished calls give back their results. It returns
        what became of it, also where the handler raised. It raises ConfigurationError where this process has no
        handler for the type, InvestigationNotFound, BackendUnavailable: then the task is to be delivered again.
        Where the engine raises something in there, by a signal, as for a time limit, the run is stopped at its next
        boundary, recorded as interrupted, and can be taken up; then that goes on out of it.
        """
        ...
