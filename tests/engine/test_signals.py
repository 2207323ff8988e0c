"""A signal may raise between any two lines of what hands a session to the writer: the next record is durable."""

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import pytest

from investigation_sdk.engine.writer import Writer
from tests.engine.rig import Rig, notes

LIMIT = 60.0

kick: CodeType = Writer.kick.__code__
rouse: CodeType = Writer._wake.__code__  # pyright: ignore[reportPrivateUsage]


def lines_of(code: CodeType) -> list[int]:
    return sorted({line for *_, line in code.co_lines() if line is not None} - {code.co_firstlineno})


def raising_at(code: CodeType, line: int, raised: list[int]) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that raises once, before that line is run."""

    def look(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code is not code or raised:
            return None
        if event == "line" and frame.f_lineno == line:
            raised.append(line)
            raise KeyboardInterrupt
        return look

    return look


@pytest.mark.parametrize(
    ("code", "line"),
    [pytest.param(c, n, id=f"{c.co_name}+{n - c.co_firstlineno}") for c in (kick, rouse) for n in lines_of(c)],
)
async def test_what_follows_a_signal_in_the_middle_of_handing_over_is_durable(
    rig: Rig, code: CodeType, line: int
) -> None:
    session = await rig.drive()
    raised: list[int] = []
    before = sys.gettrace()
    for _ in range(100):  # that the writer is asleep, and so is to be woken, is a matter of time
        sys.settrace(raising_at(code, line, raised))
        try:
            rig.note(session)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        waiter = session.waiter(rig.note(session), blocking=True)
        assert waiter is None or waiter.wait(LIMIT), "the writer has stopped for good"
        if raised:
            break
    assert len(notes(await rig.log(session))) >= 2
