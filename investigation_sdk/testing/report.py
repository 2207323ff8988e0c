"""What a store can do: the checks of the contract suite, run without pytest, as a table."""

from __future__ import annotations

import asyncio
import importlib
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple
from unittest import SkipTest

from investigation_sdk.errors import ConfigurationError, InvestigationError
from investigation_sdk.storage.commit import Query
from investigation_sdk.storage.registry import create_backend, redact

from ._contract.emptying import empty
from ._contract.opening import StoreUnderTest, opened
from ._contract.suite import Suite

__all__ = ["Check", "Checked", "StoreUnderTest", "check", "checks", "lines", "main", "stores_of"]

Verdict = Literal["passed", "failed", "skipped"]
NewStore = Callable[[Path], StoreUnderTest]

CHECK_SECONDS: Final = 180.0
"""A check that takes longer has failed: the longest ones start several processes."""

_USAGE: Final = """\
usage: python -m investigation_sdk.testing URL
       python -m investigation_sdk.testing MODULE:FUNCTION

Runs the checks that every backend must pass, and prints what became of each.
URL names a store that is empty: the checks write to it. Take one that you can throw away.
FUNCTION gets an empty folder, and returns a new StoreUnderTest for each check.
Ends with 0 if nothing failed, 1 if something did, 2 if it could not begin."""


class Checked(NamedTuple):
    """What became of one check: `why` says where it failed, or why it was skipped."""

    group: str
    name: str
    verdict: Verdict
    why: str = ""


class Check(NamedTuple):
    """One test of the suite: `group` is the part that it is of."""

    group: str
    name: str


def checks() -> list[Check]:
    """All checks, in the order of the suite."""
    return [
        Check(part.__name__.removesuffix("Tests"), name)
        for part in Suite.__bases__
        for name in vars(part)
        if name.startswith("test_")
    ]


async def check(check: Check, new_store: NewStore) -> Checked:
    """Run one check on a store of `new_store`."""
    test = getattr(Suite(), check.name)
    with tempfile.TemporaryDirectory(prefix="investigation-check-", ignore_cleanup_errors=True) as folder:
        try:
            under_test = new_store(Path(folder))
            try:
                async with asyncio.timeout(CHECK_SECONDS), opened(under_test) as store:
                    await test(store)
            finally:
                async with asyncio.timeout(CHECK_SECONDS), opened(under_test) as store:
                    await empty(store.a)
        except SkipTest as skipped:
            return Checked(*check, "skipped", str(skipped))
        except TimeoutError as error:
            return Checked(*check, "failed", f"not done within {CHECK_SECONDS:g} s, or {_where(error)}")
        except Exception as error:  # whatever a backend raises is a verdict on it
            return Checked(*check, "failed", _where(error))
    return Checked(*check, "passed")


def _where(error: Exception) -> str:
    """What was wrong, and the line of the suite that noticed it."""
    suite = str(Path(__file__).parent / "_contract")
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(suite) and frame.name.startswith("test_")]
    text = str(error).strip().partition("\n")[0]
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if not ours:
        return said
    last = ours[-1]
    return f"{said} [{Path(last.filename).name}:{last.lineno}: {last.line}]"


def stores_of(target: str) -> NewStore:
    """What makes the stores to check: of a URL, the same one for each check; else what a function makes.

    Raises:
        ConfigurationError: `target` is neither; or the URL's scheme or options are unknown.
        ImportError, AttributeError: there is no such function.
    """
    if "://" in target:
        return _of_url(target)
    module, colon, function = target.partition(":")
    if not (module and colon and function):
        raise ConfigurationError(f"{target!r} is neither a URL, such as sqlite:///new.db, nor module:function")
    sys.path.insert(0, "")
    found: NewStore = getattr(importlib.import_module(module), function)
    return found


def _of_url(url: str) -> NewStore:
    create_backend(url)  # a wrong URL is told of here
    if url.startswith("memory:"):
        return lambda _: _in_memory(url)
    return lambda _: StoreUnderTest(lambda: create_backend(url), url=url)


def _in_memory(url: str) -> StoreUnderTest:
    """Its data live as long as the object: all handles are the same."""
    backend = create_backend(url)
    return StoreUnderTest(lambda: backend)


async def _refuse_if_used(new_store: NewStore) -> None:
    """The checks write, and count what there is: a store that holds something is not for them.

    Raises:
        ConfigurationError: there are investigations in it.
        InvestigationError: it cannot be opened.
    """
    with tempfile.TemporaryDirectory(prefix="investigation-check-", ignore_cleanup_errors=True) as folder:
        async with opened(new_store(Path(folder))) as store:
            if await store.a.find(Query("investigation", limit=1)):
                raise ConfigurationError(
                    "This store holds investigations already, and the checks would write to it and delete from it. "
                    "Give an empty one that you can throw away."
                )


def lines(results: Sequence[Checked]) -> Iterator[str]:
    """The table: a line for each check, and the sums."""
    width = max((len(result.name) for result in results), default=0)
    groups = max((len(result.group) for result in results), default=0)
    for result in results:
        yield f"{result.group:{groups}}  {_title(result):{width}}  {result.verdict:7}  {result.why}".rstrip()
    counts = {verdict: sum(r.verdict == verdict for r in results) for verdict in ("passed", "failed", "skipped")}
    yield ""
    yield ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def _title(result: Checked) -> str:
    return result.name.removeprefix("test_").replace("_", " ")


def main(arguments: Sequence[str]) -> int:
    """Check the store that the arguments name, print the table, and return the exit status."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        helped = list(arguments) in (["-h"], ["--help"])
        (sys.stdout if helped else sys.stderr).write(_USAGE + "\n")
        return 0 if helped else 2
    if not __debug__:
        sys.stderr.write("The checks are assert statements: run Python without -O and PYTHONOPTIMIZE.\n")
        return 2
    (target,) = arguments
    try:
        new_store = stores_of(target)
        asyncio.run(_refuse_if_used(new_store))
    except (InvestigationError, ImportError, AttributeError) as error:
        sys.stderr.write(f"{redact(target)}: {error}\n")
        return 2
    sys.stdout.write(f"{redact(target)}, checked against the contract of storage backends\n\n")
    sys.stdout.flush()
    results = [asyncio.run(check(one, new_store)) for one in checks()]
    sys.stdout.writelines(f"{line}\n" for line in lines(results))
    return int(any(result.verdict == "failed" for result in results))
