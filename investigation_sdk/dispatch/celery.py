"""Celery: a task for each time that an investigation can be taken up. Extra ``celery``.

The message has nothing but the id. Whatever is delivered twice, late, or to two workers at once is taken up by one of
them: the store decides that, not the broker. A task that dies with its worker is delivered again, and resumes.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from investigation_sdk.arguments import TEXT, check
from investigation_sdk.errors import BackendUnavailable, ConfigurationError, InvestigationNotFound
from investigation_sdk.work.dispatch import Executed

_log = logging.getLogger("investigation_sdk.dispatch")

TASK: Final = "investigation_sdk.execute"
"""Name of the task, for ``task_routes`` and monitors."""

AGAIN_SECONDS: Final = 10
"""Until a task whose investigation somebody else drives, or whose store does not answer, is tried again."""

_LONGEST: Final = 300


class CeleryDispatcher:
    """Has investigations run by Celery: ``InvestigationSDK(url, dispatcher=CeleryDispatcher(app))``.

    The task is registered with `app` when the SDK object is made, so the module that makes it is what
    ``celery -A module worker -Q investigations`` imports. It acknowledges late, and is delivered again where its worker
    is lost. It never fails for what the handler raises: that is in the record, and is tried again as the investigator's
    ``retries`` say.

    Args:
        app: The Celery application.
        queue: Where the tasks are sent.

    Raises:
        ConfigurationError: `app` is no Celery application.
    """

    def __init__(self, app: Any, *, queue: str = "investigations") -> None:
        check(queue=(queue, TEXT))
        if not (callable(getattr(app, "task", None)) and callable(getattr(app, "send_task", None))):
            raise ConfigurationError(f"CeleryDispatcher() wants a Celery application, not {type(app).__name__}")
        self._app = app
        self._queue = queue

    def __repr__(self) -> str:
        return f"<CeleryDispatcher {getattr(self._app, 'main', None)!r} queue {self._queue!r}>"

    async def dispatch(self, investigation_id: str, investigation_type: str, *, not_before: datetime | None) -> None:
        """See :class:`investigation_sdk.Dispatcher`.

        Raises:
            kombu.exceptions.OperationalError: the broker does not answer.
        """
        send = functools.partial(
            self._app.send_task,
            TASK,
            args=[investigation_id],
            queue=self._queue,
            eta=not_before,
            headers={"investigation_type": investigation_type},
            ignore_result=True,
        )
        await asyncio.to_thread(send)

    def bind(self, execute: Callable[[str], Executed]) -> None:
        """See :class:`investigation_sdk.ExecutingDispatcher`: registers the task.

        Raises:
            ConfigurationError: another SDK object has bound this application.
        """
        if TASK in self._app.tasks:
            raise ConfigurationError(
                f"the Celery application {self._app.main!r} runs the investigations of another SDK object already; one "
                "application serves one"
            )

        def run(task: Any, investigation_id: str) -> str:
            return _run(task, execute, investigation_id)

        self._app.task(
            name=TASK,
            bind=True,
            shared=False,  # with no other application
            acks_late=True,
            reject_on_worker_lost=True,
            ignore_result=True,
            max_retries=None,
        )(run)


def _run(task: Any, execute: Callable[[str], Executed], investigation_id: str) -> str:
    """One delivery. What it returns is for the worker's log alone."""
    of = {"investigation_id": investigation_id}
    try:
        executed = execute(investigation_id)
    except InvestigationNotFound:
        _log.warning("Investigation %s is not there any more; its task is dropped.", investigation_id, extra=of)
        return "gone"
    except (BackendUnavailable, ConfigurationError) as error:
        _log.warning(
            "Investigation %s could not be taken up, and is tried again: %s", investigation_id, error, extra=of
        )
        raise _again(task, error) from error
    except _soft_limit() as error:
        _log.warning(
            "Investigation %s ran into the soft time limit of its task: it is where it was stopped, and the task is "
            "delivered again.",
            investigation_id,
            extra=of,
        )
        raise _again(task, error) from error
    if executed.outcome == "busy":  # of another worker, which may yet die
        raise _again(task)
    return executed.outcome


def _soft_limit() -> type[Exception]:
    limit: type[Exception] = importlib.import_module("celery.exceptions").SoftTimeLimitExceeded
    return limit


def _again(task: Any, error: Exception | None = None) -> Exception:
    """What has the task delivered once more, later and later."""
    pause = min(_LONGEST, AGAIN_SECONDS * 2 ** min(task.request.retries, 10))
    retry: Exception = task.retry(countdown=pause, exc=error, throw=False)
    return retry
