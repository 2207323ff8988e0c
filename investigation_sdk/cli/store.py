"""Which store is meant, and how it is opened: to read, never making one."""

from __future__ import annotations

import functools
import urllib.parse
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from investigation_sdk.errors import AmbiguousReference, BackendUnavailable, ConfigurationError

if TYPE_CHECKING:
    from investigation_sdk import Backend, Investigation, InvestigationSDK


class Store(NamedTuple):
    """The store that a command line names."""

    db: str | None
    tenant: str | None = None

    @property
    def url(self) -> str:
        """Its URL; the default is the SDK's own."""
        from investigation_sdk.storage.registry import default_url

        given = default_url() if self.db is None else self.db
        # With a colon in it, it is an attempt at a URL: the registry teaches how those are written.
        if "://" not in given and (":" not in given or Path(given).exists()):
            return f"sqlite:///{urllib.parse.quote(str(Path(given).absolute()))}"
        return given

    def backend(self, *, read_only: bool = True) -> Backend:
        """Its backend, not opened. A database that is not there is not made.

        Raises:
            ConfigurationError: see :func:`investigation_sdk.storage.registry.create_backend`.
        """
        from investigation_sdk.storage.registry import create_backend, takes

        wanted = read_only and takes(self.url, "read_only")
        return create_backend(self.url, {"read_only": True} if wanted else {})

    @contextmanager
    def opened(self, *, read_only: bool = True) -> Generator[InvestigationSDK]:
        """An SDK on it, that reads.

        Raises:
            ConfigurationError, BackendUnavailable, SchemaMismatch: it cannot be opened.
        """
        from investigation_sdk.sdk import InvestigationSDK

        if self.url.startswith("memory:"):
            raise ConfigurationError(f"{self.url} ends with the process that it is in; name a database")
        with self.named(), InvestigationSDK(self.backend(read_only=read_only), tenant_id=self.tenant) as sdk:
            yield sdk

    def writing(self) -> AbstractContextManager[InvestigationSDK]:
        """An SDK on it, that gives commands; to be called when :meth:`opened` has shown that it is there.

        Raises:
            ConfigurationError, BackendUnavailable, SchemaMismatch: it cannot be opened.
        """
        return self.opened(read_only=False)

    @contextmanager
    def named(self) -> Generator[None]:
        """Where a store that nobody named may be missing: the error says how to name one."""
        try:
            yield
        except BackendUnavailable as error:
            if self.db is not None:
                raise
            raise BackendUnavailable(f"{str(error).rstrip('.')}, by --db or INVESTIGATION_URL") from error

    def command(self, *words: str) -> str:
        """A command that goes on in this store."""
        from investigation_sdk.engine.shell import command_line

        return command_line(*words, url=self.db or "")


def find(sdk: InvestigationSDK, reference: str, investigation_type: str | None) -> Investigation:
    """The investigation that a command line means.

    Raises:
        InvestigationNotFound: there is none.
        click.ClickException: several are meant; it lists them.
    """
    from investigation_sdk.engine.shell import visible

    try:
        return sdk.sync.lookup(reference, investigation_type=investigation_type)
    except AmbiguousReference as error:
        candidates = [sdk.sync.get(id) for id in error.candidates]
        lines = [
            f"  {one.id}  {one.status:<9}  {visible(one.investigation_type)}: {visible(one.subject)}"
            for one in candidates
        ]
        message = f"{visible(reference)!r} means several investigations; give more of the id, or --type:"
        raise click.ClickException("\n".join([message, *lines])) from error


def on_a_store(*, json: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that all commands share: the first parameter becomes a :class:`Store`, the second an ``Out``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*, db: str | None, tenant: str | None, as_json: bool = False, **options: Any) -> Any:
            from investigation_sdk.cli.out import Out

            return function(Store(db, tenant), Out(as_json=as_json), **options)

        made: Callable[..., Any] = run
        if json:
            made = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(made)
        made = click.option("--tenant", metavar="ID", help="Look at the investigations of this tenant only.")(made)
        return click.option(
            "--db",
            metavar="URL",
            help="The store: a URL, or the path of an SQLite file. "
            "[INVESTIGATION_URL, else sqlite:///investigations.db]",
        )(made)

    return decorate
