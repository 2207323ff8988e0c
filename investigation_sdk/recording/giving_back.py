"""Giving back: what a call returned, from what was recorded of it. By the live function's annotation alone."""

from __future__ import annotations

from types import GenericAlias
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from investigation_sdk.domain.events import Blob
from investigation_sdk.domain.states import Effect
from investigation_sdk.recording.fitting import fit
from investigation_sdk.recording.wrapping import Kind, innermost, kind_of
from investigation_sdk.storage.codec import Json, decode
from investigation_sdk.storage.hints import return_hint
from investigation_sdk.storage.rebuild import Rebuilt, rebuild

if TYPE_CHECKING:
    from investigation_sdk.recording.capture import ToolSpec

_GENERATORS: Final[tuple[Kind, ...]] = ("generator", "async_generator")
_RETURNED: Final = 2
"""Where ``Generator[yielded, sent, returned]`` says what is returned."""


def give_back(fn: Any, recorded: Any) -> Rebuilt:
    """What a call of `fn` returned; of a generator ``(items, returned)``.

    Args:
        fn: The live function.
        recorded: What ``tool.completed`` has as its output, decoded, and read where it stands in a blob.
    """
    hint = return_hint(innermost(fn))
    if kind_of(fn) not in _GENERATORS:
        return rebuild(recorded, hint)
    if not isinstance(recorded, dict) or "exhausted" not in recorded:
        return _items(rebuild(recorded, _list_of(hint)))
    hints = get_args(hint)
    output = cast("dict[str, Any]", recorded)
    items: list[Any] = output["items"]
    if output["count"] != len(items):
        return Rebuilt(reason=f"only {len(items)} of the {output['count']} items that it gave were recorded")
    if not output["exhausted"]:
        return Rebuilt(reason="it was given up before its end, and what else it would have given is not known")
    if output.get("sent", ()) is None:
        return Rebuilt(reason="what was sent or thrown into it, on which it may depend, cannot be compared")
    yielded = rebuild(items, _list_of(hint))
    returned = rebuild(output.get("value"), hints[_RETURNED] if len(hints) > _RETURNED else None)
    reason = yielded.reason or returned.reason
    return Rebuilt(reason=reason) if reason else Rebuilt((yielded.value, returned.value))


def sent_into(recorded: Any) -> dict[str, str] | None:
    """Of a generator, the digests of what was sent into it, by the place of the item that it had given before; None
    where its items are known, whatever is sent."""
    if not isinstance(recorded, dict) or "exhausted" not in recorded:
        return None
    output = cast("dict[str, Any]", recorded)
    return cast("dict[str, str]", output.get("sent", {}))


def give_back_named(fn: Any, named: Any) -> Rebuilt:
    """What a call of `fn` returned, from what somebody says that it would have: see :mod:`.fitting`.

    Args:
        fn: The live function.
        named: As it was recorded and decoded, or as a ``reconcile`` function gave it; of a generator, its items.
    """
    hint = return_hint(innermost(fn))
    generator = kind_of(fn) in _GENERATORS
    wanted = _list_of(hint) if generator else hint
    rebuilt = rebuild(named, wanted)
    if generator and not rebuilt.reason:
        rebuilt = _items(rebuilt)
    if rebuilt.reason:
        return rebuilt
    if not generator:
        return fit(rebuilt.value, wanted)
    items = fit(rebuilt.value[0], wanted)
    return items if items.reason else Rebuilt((items.value, None))


def _items(rebuilt: Rebuilt) -> Rebuilt:
    """Of what is a generator now, the list of its items, which somebody named, or which it returned as one."""
    if rebuilt.reason:
        return rebuilt
    value: object = rebuilt.value
    if not isinstance(value, list | tuple):
        return Rebuilt(reason="of a generator, the result is the list of the items that it gave, and this is none")
    return Rebuilt((list(cast("list[Any]", value)), None))


def _list_of(hint: Any) -> Any:
    """What the list of the items is, of a generator so annotated."""
    hints = get_args(hint)
    return GenericAlias(list, hints[:1]) if hints else None


def warning(spec: ToolSpec, output: Json, blobs: tuple[Blob, ...]) -> tuple[str, ...]:
    """That a resume could not give back what an unsafe call returned, and would have to pause there."""
    if spec.effect is not Effect.UNSAFE:
        return ()
    recorded = decode(output)
    if blobs:
        recorded = _whole(recorded, decode(blobs[0].data.decode()))
    reason = give_back(spec.fn, recorded).reason
    if not reason:
        return ()
    return (f"{spec.name} is unsafe, and what it returned cannot be given back: {reason}. A resume will pause there.",)


def _whole(recorded: Any, large: Any) -> Any:
    """What was recorded, with what stands in its blob: all of it, or what a generator returned."""
    return {**cast("dict[str, Any]", recorded), "value": large} if isinstance(recorded, dict) else large
