"""From a URL to a backend. Backends are named as text here and imported when asked for.

Other distributions add theirs by an entry point of the group ``investigation_sdk.backends``: its name is the scheme,
its value ``module:Class``.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import types
import typing
import urllib.parse
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, Final, Literal, NamedTuple

from investigation_sdk.errors import ConfigurationError
from investigation_sdk.storage.backend import Backend


class Entry(NamedTuple):
    """Where a backend is."""

    target: str
    """``module:Class``. The class has ``from_url(url, *, option=…)``; its keywords are the URL's options, and
    their annotations (bool, int, float, str, Literal of texts) say how their text is read."""
    extra: str | None = None
    """The extra of the distribution that installs its driver."""


BACKENDS: Final[dict[str, Entry]] = {
    "memory": Entry("investigation_backends.memory:MemoryBackend"),
    "sqlite": Entry("investigation_backends.sqlite:SQLiteBackend"),
    "postgresql": Entry("investigation_backends.postgres:PostgresBackend", extra="postgres"),
    "postgres": Entry("investigation_backends.postgres:PostgresBackend", extra="postgres"),
    "mongodb": Entry("investigation_backends.mongo:MongoBackend", extra="mongo"),
    "mongodb+srv": Entry("investigation_backends.mongo:MongoBackend", extra="mongo"),
}
"""Our own, by scheme of the URL. A scheme that is here cannot be taken by another distribution."""

GROUP: Final = "investigation_sdk.backends"
"""The group of entry points by which other distributions name theirs."""

_EXAMPLES: Final = "memory://, sqlite:///cases.db, postgresql://user@host/database"


DEFAULT_URL: Final = "sqlite:///investigations.db"


def default_url() -> str:
    """The store where none is named: that of the environment, else a file in the working directory."""
    return os.environ.get("INVESTIGATION_URL", DEFAULT_URL)


def backend_of(
    url_or_backend: str | Backend | None, options: Mapping[str, Any] | None, *, auto_migrate: bool
) -> Backend:
    """The backend that an SDK is made with: the one of a URL, of the environment's, or the one that was given.

    Raises:
        ConfigurationError: as :func:`create_backend`; or it is neither a URL nor a backend.
    """
    if isinstance(url_or_backend, os.PathLike):
        raise ConfigurationError(f"{url_or_backend} is a path; give a URL: 'sqlite:///{url_or_backend}'")
    if url_or_backend is not None and not isinstance(url_or_backend, str):
        if not isinstance(url_or_backend, Backend):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"{url_or_backend!r} is neither the URL of a store nor a backend object")
        if options:
            raise ConfigurationError("backend_options go with a URL; give them to the backend object itself")
        return url_or_backend
    url = url_or_backend if url_or_backend is not None else default_url()
    more = {"auto_migrate": True} if auto_migrate and not url.startswith("memory:") else {}
    return create_backend(url, {**(options or {}), **more})


def create_backend(url: str, options: Mapping[str, Any] | None = None) -> Backend:
    """The backend that a URL names, not yet opened.

    Args:
        url: Such as ``sqlite:///cases.db`` or ``sqlite:///cases.db?synchronous=NORMAL``.
        options: The backend's own options by name; they win over those in the URL.

    Raises:
        ConfigurationError: an unknown scheme or option, a value that an option does not take, or a driver that is
            not installed. Messages never contain a password.
    """
    scheme, entry = _entry(url)
    if entry.extra is not None:
        check_server_url(url)
    place, _, query = url.partition("?")
    make: Callable[..., Backend] = _load(scheme, entry).from_url
    known = _known_options(make)
    given: dict[str, Any] = _query_options(scheme, query)
    given.update(options or {})
    for name in given:
        if name not in known and not _takes_others(make):
            raise ConfigurationError(f"{scheme}: there is no option{_shown(name)}{_near(name, known)}")
    return make(place, **{name: _value(scheme, name, known.get(name, str), value) for name, value in given.items()})


def takes(url: str, option: str) -> bool:
    """Whether the backend that a URL names has an option of this name.

    Raises:
        ConfigurationError: as :func:`create_backend`.
    """
    scheme, entry = _entry(url)
    return option in _known_options(_load(scheme, entry).from_url)


def redact(url: str) -> str:
    """A URL for messages: without password, and without the values of its options.

    Up to the last '@' anything may be the password: it may have any character that should have been encoded.
    """
    before = r"(?<=://)([^/@:]*)[:@].*@" if "://" in url else r"^([^@:]*):.*@"
    url = re.sub(before, r"\1:***@", url, count=1, flags=re.DOTALL)
    place, mark, query = url.partition("?")
    names = re.sub(r"=[^&]*", "=***", query)
    return place + mark + names


def check_server_url(url: str) -> None:
    """Refuse the URL of a server in which a part of the password may stand where something else is read.

    Of ``bob:98/secret@host`` the host would be `bob`, and the password's rest a database, which messages show.

    Raises:
        ConfigurationError: '@' behind host and port, a fragment, or no ``//``; never with a part of it.
    """
    _, slashes, rest = url.partition("://")
    behind = re.split(r"[/?]", rest, maxsplit=1)[1:]
    if not slashes or "#" in url or any("@" in part for part in behind):
        raise unreadable(url)


def unreadable(url: str) -> ConfigurationError:
    """What is to be raised where the URL of a server cannot be read: it quotes nothing of it."""
    scheme = url.partition(":")[0]
    return ConfigurationError(
        f"this URL cannot be read; write {scheme if scheme in BACKENDS else 'scheme'}://user:password@host/database, "
        "with special characters in it percent-encoded ('@' is %40, '/' is %2F, '?' is %3F, '#' is %23)"
    )


def _shown(name: str) -> str:
    """An option's name, behind a space; nothing where it may be a part of something else."""
    return f" {name!r}" if re.fullmatch("[A-Za-z_]+", name) else ""


def _entry(url: str) -> tuple[str, Entry]:
    scheme, separator, _ = url.partition("://")
    if not separator or not re.fullmatch(r"[\w+.-]*", scheme):
        raise ConfigurationError(_teach(url))
    entry = BACKENDS.get(scheme)
    if entry is None:
        others = {point.name: Entry(point.value) for point in metadata.entry_points(group=GROUP)}
        if scheme in others:
            return scheme, others[scheme]
        # of "sqlite+aiosqlite" the first part is what is meant
        near = _near(scheme.lower().partition("+")[0], {**BACKENDS, **others}, shown="schemes")
        raise ConfigurationError(f"there is no backend for {scheme!r} URLs{near}")
    return scheme, entry


def _teach(url: str) -> str:
    word = url.strip().rstrip(":/").lower()
    if word in BACKENDS:
        rest = {"memory": "", "sqlite": "/cases.db"}.get(word, "user@host/database")
        return f"{url!r} is not a URL; write {word}://{rest}"
    if ":" in url and not re.match(r"[A-Za-z]:[\\/]", url):  # may be anything, also a password
        return f"this is not the URL of a store; write one such as {_EXAMPLES}"
    path = url.replace("\\", "/") or "cases.db"
    return f"{url!r} is not a URL; for a SQLite file write sqlite:///{path}"


def _load(scheme: str, entry: Entry) -> Any:
    module, _, name = entry.target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        missing = error.name or str(error)
        if entry.extra is None or missing.startswith(("investigation_backends", "investigation_sdk")):
            raise
        raise ConfigurationError(
            f"{scheme} needs {missing!r}, which is not installed; run: pip install 'investigation-sdk[{entry.extra}]'"
        ) from error


def _known_options(make: Callable[..., Backend]) -> dict[str, Any]:
    hints = typing.get_type_hints(make)
    parameters = inspect.signature(make).parameters.values()
    return {p.name: hints[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}


def _takes_others(make: Callable[..., Backend]) -> bool:
    """Whether its URLs have options of the driver's own, which it checks itself."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(make).parameters.values())


def _query_options(scheme: str, query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
        if name in found:
            raise ConfigurationError(f"{scheme}: the URL has option{_shown(name)} twice")
        found[name] = value
    return found


_BOOLEANS: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


def _value(scheme: str, name: str, hint: Any, value: Any) -> Any:
    """An option's value: text is read as the hint says, anything else must be of that type."""
    if isinstance(hint, types.UnionType):  # with None, which no URL can say
        hint = next(member for member in typing.get_args(hint) if member is not types.NoneType)
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    if choices:
        by_name = {choice.lower(): choice for choice in choices}
        if isinstance(value, str) and value.lower() in by_name:
            return by_name[value.lower()]
        raise ConfigurationError(f"{scheme}: option {name!r} takes one of {', '.join(choices)}")
    try:
        if hint is bool:
            return value if isinstance(value, bool) else _BOOLEANS[value.lower()]
        if isinstance(value, bool) or (hint is int and isinstance(value, float)):
            raise TypeError
        return hint(value) if hint in (int, float) else value
    except (ValueError, TypeError, KeyError, AttributeError):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[hint]
        raise ConfigurationError(f"{scheme}: option {name!r} takes {kind}") from None


def _near(word: str, known: Mapping[str, Any], *, shown: str = "options") -> str:
    near = difflib.get_close_matches(word, known, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else "."
    return f"{guess} Known {shown}: {', '.join(known) or 'none'}"
