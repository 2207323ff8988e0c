"""Frames: what is around a piece of code. One context variable holds one of them."""

from __future__ import annotations

import contextvars
import functools
import os
from typing import TYPE_CHECKING

from investigation_sdk.recording.tool_call import ToolCall, adding

if TYPE_CHECKING:
    from investigation_sdk.recording.driver import Driver


class Frame:
    """What is around a piece of code: the investigation, the phase, the call. Never changed, only replaced."""

    __slots__ = ("driver", "phase_id", "phase_name")

    def __init__(self, driver: Driver, phase_id: str | None, phase_name: str | None) -> None:
        self.driver: Driver = driver
        self.phase_id: str | None = phase_id
        self.phase_name: str | None = phase_name

    @property
    def call(self) -> CallFrame | None:
        """The innermost call around, if any."""
        return None


class CallFrame(Frame):
    """The frame of a call's body, which is the call itself.

    Attributes:
        repeated: An earlier attempt finished it, or one that looks the same, or one that it is inside of; it runs once
            more all the same, and brings the investigation no further.
    """

    __slots__ = ("_tool", "attempt", "id", "repeated", "root")

    def __init__(self, around: Frame, id: str, attempt: int) -> None:
        self.driver: Driver = around.driver  # not by super(): one of these is made for each call
        self.phase_id: str | None = around.phase_id
        self.phase_name: str | None = around.phase_name
        self.id: str = id
        self.root: str = id
        self.attempt: int = attempt
        self.repeated: bool = False
        self._tool: ToolCall | None = None

    @property
    def call(self) -> CallFrame:
        """Itself."""
        return self

    @property
    def reported(self) -> ToolCall | None:
        """What the body may have reported to; None where it never asked for it."""
        return self._tool

    def tool(self) -> ToolCall:
        """What :func:`current_tool` gives, made when the body first asks for it."""
        if self._tool is None:
            with adding:
                if self._tool is None:
                    far = functools.partial(self.driver.recorder.report, self.driver.session, self.id)
                    self._tool = ToolCall(self.id, self.attempt, self.root, far)
        return self._tool


class BlockFrame(Frame):
    """The frame of a block: of an investigation, or of a phase.

    Blocks may be left in another order than they were entered, or in another context. So leaving one changes the
    context only where that is still inside of it, and goes back to what is around it and not left yet.
    """

    __slots__ = ("_around", "_call", "_left")

    def __init__(self, driver: Driver, phase_id: str | None, phase_name: str | None, call: CallFrame | None) -> None:
        super().__init__(driver, phase_id, phase_name)
        self._call = call
        self._around = _not_left(current_frame.get())  # or those that others left would be kept for ever
        self._left = False
        current_frame.set(self)

    @property
    def call(self) -> CallFrame | None:
        """The call that the block was opened in, if any."""
        return self._call

    def leave(self) -> None:
        """The block is left."""
        self._left = True
        if current_frame.get() is self:
            current_frame.set(_not_left(self._around))


def _not_left(frame: Frame | None) -> Frame | None:
    """The innermost frame from this one outwards whose block is not left."""
    while isinstance(frame, BlockFrame) and frame._left:  # pyright: ignore[reportPrivateUsage]
        frame = frame._around  # pyright: ignore[reportPrivateUsage]
    return frame


current_frame: contextvars.ContextVar[Frame | None] = contextvars.ContextVar("investigation_frame", default=None)


def _start_clean() -> None:
    current_frame.set(None)


os.register_at_fork(after_in_child=_start_clean)
