"""Results of reading tools that are used again: found before a body runs, kept after it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from investigation_sdk.domain.states import Effect
from investigation_sdk.errors import InvalidArgument
from investigation_sdk.recording.giving_back import give_back
from investigation_sdk.recording.steps import Step
from investigation_sdk.storage.codec import Json, decode, digest_of
from investigation_sdk.storage.payloads import is_rebuildable

if TYPE_CHECKING:
    from investigation_sdk.recording.call import Call
    from investigation_sdk.recording.capture import ToolSpec
    from investigation_sdk.recording.driver import Driver


class Kept(NamedTuple):
    """A result that was kept: as it is recorded, and as the caller gets it."""

    output: Json
    value: Any


def check_cached(spec: ToolSpec) -> None:
    """Whether results of this tool may be used again at all.

    Raises:
        InvalidArgument: they may not; with the reason.
    """
    wrong = None
    if spec.effect is not Effect.READ:
        said = "declares no effect" if spec.effect is None else f"is {spec.effect.value}"
        wrong = f"{said}: only what reads may be left out; say effect='read' if that is all that it does"
    elif spec.generator:
        wrong = "is a generator: give back a list instead"
    elif spec.masks_result:
        wrong = "has a sensitive result, which is kept nowhere"
    elif spec.is_method and spec.identity is None:
        wrong = "is a method, and its object is no part of what is compared: say what is by identity=[…]"
    if wrong is not None:
        raise InvalidArgument(f"@tool(cache=...) of {spec.name!r}, which {wrong}.", argument="cache")


def look(driver: Driver, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Step[Kept | None]:
    """The result that is kept for this call; None where the body has to run."""
    key = _key(driver, call, call.spec.arguments(args, kwargs))
    if key is None:
        return None
    results = driver.recorder.results
    text = results.known(key)
    if text is None:
        text = yield results.find(key)
    if text is not None:
        try:
            rebuilt = give_back(call.spec.fn, decode(text))
        except ValueError:  # not what was kept there
            rebuilt = None
        if rebuilt is not None and not rebuilt.reason:
            return Kept(Json(text), rebuilt.value)
    call.cache_key = key
    return None


def keep(driver: Driver, call: Call, output: Json) -> None:
    """Keep what a call returned, for as long as its tool says."""
    if call.cache_key is not None and call.spec.cache is not None:
        driver.recorder.results.keep(call.cache_key, output, call.spec.cache.total_seconds())


def _key(driver: Driver, call: Call, arguments: dict[str, Any]) -> str | None:
    """What two calls have in common whose result is the same; None where that cannot be told from the record.

    Tenant and user are part of it: what one may see is not shown to another.
    """
    spec, data, fold = call.spec, call.started.data, driver.session.decided
    digest: str | None = data.get("digest")
    if spec.identity is None and not is_rebuildable(arguments):
        return None
    if digest is None:
        try:
            digest = digest_of(data["input"])
        except ValueError:  # a part of them is masked, and there is no key to tell them apart by
            return None
    parts = [fold.tenant, fold.user_id, spec.fn.__module__, spec.name, spec.version, digest]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
