"""For whoever sits at a terminal: text that does nothing but stand there, and commands to go on with.

The command line imports this for its every answer, so it imports nothing by itself.
"""

from __future__ import annotations

import shlex


def visible(text: str) -> str:
    """Text in one line, its control and format characters as escapes: a terminal shows it, and obeys none of it."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def command_line(*words: str, url: str = "") -> str:
    """The command ``investigate`` with these words, quoted for a shell; what may be secret in the URL is ``***``."""
    from investigation_sdk.storage.registry import redact

    store = ["--db", redact(url)] if url else []
    return visible(shlex.join(["investigate", *words, *store]))


def show_command(reference: str, url: object) -> str | None:
    """The command that shows an investigation of the store at a URL, ``""`` for the default one; None where no
    other process can read that store: it is in memory, or a backend object without a URL."""
    from investigation_sdk.storage.registry import default_url

    if not isinstance(url, str) or (url or default_url()).startswith("memory:"):
        return None
    return command_line("show", reference, url=url)
