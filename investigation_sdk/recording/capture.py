"""Capture: what a call was given, as it is recorded. Decided once per function, done once per call."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from investigation_sdk.domain.events import Blob
from investigation_sdk.domain.states import Effect
from investigation_sdk.engine.texts import clean
from investigation_sdk.errors import InvalidArgument, PayloadTooLarge
from investigation_sdk.recording.confidential import EVERYTHING, Confidential, confidential
from investigation_sdk.recording.injected import injected
from investigation_sdk.recording.wrapping import kind_of
from investigation_sdk.storage.codec import Json, digest, encode, object_text
from investigation_sdk.storage.payloads import is_rebuildable, pack_members, pack_or_note

if TYPE_CHECKING:
    from investigation_sdk.recording.context import AgentScope

DEFAULT_AGENT: Final = "main"
"""The agent of a tool for which none is named."""

MASKED: Final = Json('{"$type":"masked"}')
"""What is recorded of what is sensitive."""

_SELF: Final = ("self", "cls")
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


Given: TypeAlias = tuple[Json, str | None, Sequence[str], tuple[Blob, ...]]
"""What is recorded of a call's arguments: their JSON, their digest, warnings, and blobs that the JSON refers to."""


class ToolSpec:
    """One decorated function: its name, what was said of it, and how its arguments bind."""

    __slots__ = (
        "_described", "_kept_back", "_ordinary", "agent", "cache", "defaults", "effect", "fn", "generator", "identity",
        "ignore", "is_method", "keywords", "masked", "masks_result", "name", "names", "no_effect_on", "positional",
        "reconcile", "sensitive", "signature", "steps", "summary", "version", "waits_to_start",
    )  # fmt: skip

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str,
        agent: str | None,
        version: str | None,
        effect: Effect | None,
        identity: Sequence[str] | Callable[..., Any] | None,
        ignore: Sequence[str],
        sensitive: bool | Sequence[str],
        summary: Callable[[Any], Any] | None,
    ) -> None:
        self.fn: Callable[..., Any] = fn
        self.generator: bool = kind_of(fn) in ("generator", "async_generator")
        self.name: str = clean(name)
        self.agent: str | None = None if agent is None else clean(agent)
        self.version: str | None = None if version is None else clean(version)
        self.effect: Effect | None = effect
        self.waits_to_start: bool = effect in (Effect.IDEMPOTENT, Effect.UNSAFE)
        self.steps: bool = self.waits_to_start  # there is more to do before its body than to begin
        self.identity: Sequence[str] | Callable[..., Any] | None = identity
        # Whatever it returns becomes text: compiled, a declared str would be checked.
        self.summary: Callable[[Any], Any] | None = summary
        self.sensitive: bool = sensitive is True
        named = () if isinstance(sensitive, bool) else tuple(sensitive)
        self.masked: frozenset[str] = frozenset([*named, *(f"**{name}" for name in named)])  # see _bind
        self._kept_back = tuple(name for name in named if name != "return")
        # Recorded nowhere: they are asked of the live function.
        self.reconcile: Callable[..., Any] | None = None
        self.no_effect_on: tuple[type[BaseException], ...] = ()
        self.cache: timedelta | None = None
        self._described: tuple[AgentScope | None, tuple[dict[str, Any], str]] | None = None
        self._ordinary = identity is None and not sensitive
        self.masks_result: bool = self.sensitive or "return" in self.masked
        self._read_signature(fn, ignore)
        self._check_names("ignore", ignore)
        if not callable(identity):
            self._check_names("identity", identity or ())
        if not isinstance(sensitive, bool):
            self._check_names("sensitive", sensitive, "return")

    def _read_signature(self, fn: Callable[..., Any], ignore: Sequence[str]) -> None:
        try:
            signature = inspect.signature(fn)
        except (ValueError, TypeError):  # some builtins have none
            signature = inspect.Signature(
                [
                    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
                ]
            )
        self.signature: inspect.Signature = signature
        parameters = list(signature.parameters.values())
        first = parameters[0].name if parameters else ""
        self.is_method: bool = first in _SELF
        own = {first} if self.is_method else frozenset[str]()
        self.ignore: frozenset[str] = injected(fn, signature.parameters).union(ignore, own)
        self.keywords: str | None = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD), None)
        simple = not any(p.kind in _VARIADIC for p in parameters)
        self.names: tuple[str, ...] = tuple(p.name for p in parameters) if simple else ()
        positional = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        self.positional: int = len(positional) if simple else -1
        self.defaults: dict[str, Any] = {
            p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty
        }

    def _check_names(self, option: str, names: Sequence[str], *more: str) -> None:
        if isinstance(names, str):
            raise InvalidArgument(
                f"@tool({option}={names!r}) of {self.name!r} must be a list of names: {option}=[{names!r}]"
            )
        known = self.signature.parameters
        if self.keywords is not None:
            return
        for name in names:
            if name not in known and name not in more:
                raise InvalidArgument(
                    f"@tool({option}=...) of {self.name!r} names {name!r}, which is not one of its parameters: "
                    f"{', '.join(known) or 'it has none'}"
                )

    def described(self, scope: AgentScope | None) -> tuple[dict[str, Any], str]:
        """The members of ``tool.started`` that are the same for every call under one agent, and their JSON text
        without braces."""
        known = self._described
        if known is None or known[0] is not scope:
            data = self._describe(scope)
            known = self._described = scope, (data, object_text(data)[1:-1])
        return known[1]

    def _describe(self, scope: AgentScope | None) -> dict[str, Any]:
        data: dict[str, Any] = {"tool": self.name, "agent": self.agent or DEFAULT_AGENT}
        if self.agent is None and scope is not None:
            data["agent"] = scope.name
            if scope.model is not None:
                data["model"] = scope.model
            if scope.version is not None:
                data["agent_version"] = scope.version
        if self.version is not None:
            data["version"] = self.version
        if self.effect is not None:
            data["effect"] = self.effect.value
        return data

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name, defaults included, without ``self`` and what is ignored.

        A call that does not fit the signature is recorded as it came; calling the body then says what is wrong.
        """
        if len(args) <= self.positional:
            bound = dict(zip(self.names, args, strict=False))
            if kwargs:
                bound.update(kwargs)
            if len(bound) < len(self.names):
                for name, default in self.defaults.items():
                    bound.setdefault(name, default)
        else:
            bound = self._bind(args, kwargs)
        for name in self.ignore:
            bound.pop(name, None)
        return bound

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """For functions that take any number of arguments, and for calls that do not fit.

        Each keyword is under its own name, so that it is found where one is ignored or sensitive.
        """
        try:
            arguments = self.signature.bind(*args, **kwargs)
        except TypeError:
            rest: Any = list(args[len(self.names) :])
            named = dict(zip(self.names, args, strict=False))
            return {**named, "args": f"({len(rest)} not recorded)" if self.masked else rest, **kwargs}
        arguments.apply_defaults()
        bound = arguments.arguments
        more: dict[str, Any] = bound.pop(self.keywords, {}) if self.keywords is not None else {}
        for name, value in more.items():
            bound[f"**{name}" if name in bound else name] = value
        return bound

    def input(self, arguments: dict[str, Any], limit: int) -> Given:
        """What is recorded of the arguments.

        The digest is over what makes two calls the same act, before masking. It is left out where it follows
        from what is recorded (:func:`~investigation_sdk.storage.codec.digest_of`), and where an argument is
        sensitive and there is no key (``INVESTIGATION_DIGEST_KEY``): a plain hash of a secret could be guessed.
        """
        if self._ordinary:
            try:
                text, rebuildable, warnings = encode(arguments, max_bytes=limit)
                if rebuildable:
                    return text, None, warnings, ()
            except PayloadTooLarge:
                pass  # the careful way says what becomes of it
        return self._careful_input(arguments, limit)

    def ordinary_input(self, args: tuple[Any, ...], kwargs: dict[str, Any], limit: int) -> Json | None:
        """What is recorded of the arguments of a call, where that is all of them, and nothing else makes two calls the
        same act; None where there is more to it: see :meth:`input`."""
        if not self._ordinary:
            return None
        try:
            text, rebuildable, _ = encode(self.arguments(args, kwargs), max_bytes=limit)
        except PayloadTooLarge:
            return None
        return text if rebuildable else None

    def _careful_input(self, arguments: dict[str, Any], limit: int) -> Given:
        identity, failed = self._identity(arguments)
        signed = None
        if not (self.masked or self.sensitive):
            signed = None if identity is None else digest(identity)
        elif identity is not None and (key := os.environ.get("INVESTIGATION_DIGEST_KEY")):
            signed = digest(identity, key=key.encode())
        if self.sensitive:
            return MASKED, signed, (), ()
        shown = {name: MASKED if name in self.masked else value for name, value in arguments.items()}
        packed = pack_members(shown, limit, note=True)
        return packed.text, signed, (*packed.warnings, *failed), packed.blobs

    def _identity(self, arguments: dict[str, Any]) -> tuple[Any, Sequence[str]]:
        """What makes two calls the same act, None where nothing does; and warnings."""
        try:
            if callable(self.identity):
                return self.identity(**arguments), ()
            if self.identity is not None:
                return {name: arguments.get(name) for name in self.identity}, ()
            return {name: value for name, value in arguments.items() if is_rebuildable(value)}, ()
        except PayloadTooLarge:
            return None, (f"an argument of {self.name} is too large to compare: a resume will not recognise this call",)
        except Exception as error:  # of the user's function
            return None, (f"identity= of {self.name} failed with {type(error).__name__}; there is no digest",)

    def confidential(self, arguments: dict[str, Any]) -> Confidential | None:
        """What exceptions of this call must not quote; None for nothing."""
        if self.sensitive:
            return EVERYTHING
        if not self._kept_back:
            return None
        if any(name not in arguments for name in self._kept_back):  # not known, so not to be looked for
            return EVERYTHING
        return confidential(arguments[name] for name in arguments if name in self.masked)

    def output(self, value: Any, limit: int) -> tuple[Json, Sequence[str], tuple[Blob, ...]]:
        """What is recorded of the result: its JSON, warnings, and blobs that it refers to."""
        if self.masks_result:
            return MASKED, (), ()
        try:
            text, _, warnings = encode(value, max_bytes=limit)
        except PayloadTooLarge:
            text, _, warnings, blobs = pack_or_note(value, limit)
            return text, warnings, blobs
        return text, warnings, ()

    def summarise(self, value: Any) -> str | None:
        """The one-line summary that the user's function gives; one that fails is reported as such."""
        if self.summary is None:
            return None
        try:
            return str(self.summary(value))
        except Exception as error:
            return f"(summary failed: {type(error).__name__})"
