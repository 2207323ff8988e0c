"""The tools of this process: what can be said of a recorded call by the live function that made it."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Final

from investigation_sdk.recording.capture import ToolSpec
from investigation_sdk.recording.giving_back import give_back_named

_adding: Final = threading.Lock()
_tools: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
"""What the decorator gave; only as long as somebody has it."""


def know(wrapper: Any) -> None:
    """A function was made a tool."""
    with _adding:
        _tools.add(wrapper)


def misfit(tool_name: str, version: str | None, result: Any) -> str:
    """Why a resume could not give back `result` as what a call of this tool returned; empty where it could, or where
    this process does not know the tool. Runs the validators of the user's models."""
    with _adding:
        specs: list[ToolSpec] = [wrapper.__investigation_tool__ for wrapper in _tools]
    reasons = [
        give_back_named(spec.fn, result).reason for spec in specs if (spec.name, spec.version) == (tool_name, version)
    ]
    return "" if "" in reasons or not reasons else reasons[0]
