"""The command line as a whole: its commands, its exit statuses, and how it ends when it cannot go on."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import click

from investigation_sdk.cli.advancing import progress
from investigation_sdk.cli.checking import check
from investigation_sdk.cli.details import events, tools
from investigation_sdk.cli.looking import ls, show
from investigation_sdk.cli.measuring import metrics
from investigation_sdk.cli.schema import db
from investigation_sdk.cli.steering import cancel, pause, resolve, resume, retry
from investigation_sdk.cli.verifying import verify
from investigation_sdk.cli.working import worker
from investigation_sdk.engine.shell import visible
from investigation_sdk.errors import InvestigationError

PROBLEM, FAILED, INTERRUPTED, CLOSED = 1, 2, 130, 141
_COMPLETING = "_INVESTIGATE_COMPLETE"


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="An investigation is named by its id, the beginning of its id, or its key.",
)
@click.version_option(None, "--version", package_name="investigation-sdk", message="investigate %(version)s")
def investigate() -> None:
    """Look at investigations and steer them, check their logs, and look after the store."""


_STEERING = (pause, resume, cancel, retry, resolve)
for _command in (ls, show, progress, tools, events, metrics, verify, check, *_STEERING, db, worker):
    investigate.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, that of the process by default; the exit status."""
    if _COMPLETING in os.environ:
        investigate.main(prog_name="investigate")  # answers the shell, and ends the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not know all characters
    try:
        with investigate.make_context("investigate", list(sys.argv[1:] if arguments is None else arguments)) as context:
            status = investigate.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return FAILED
    except click.NoSuchOption as error:
        place = error.ctx.command_path if error.ctx else "investigate"
        if place == "investigate" and error.option_name in _options():
            return _failed(f"{error.option_name} goes behind the command: investigate COMMAND {error.option_name} …")
        return _failed(f"{error.format_message().rstrip('.')}; see {place} --help")
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else "investigate"
        return _failed(f"{error.format_message().rstrip('.')}; see {place} --help")
    except click.ClickException as error:
        return _failed(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more at exit, where nobody could catch it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except InvestigationError as error:
        return _failed(str(error).replace("\n", " "))
    return status if isinstance(status, int) else 0


def _options() -> set[str]:
    commands = (ls, show, progress, tools, events, verify, check)
    return {word for command in commands for p in command.params for word in p.opts}


def _failed(message: str) -> int:
    for number, line in enumerate(message.split("\n")):
        print(visible(line if number else f"investigate: {line}"), file=sys.stderr)
    return FAILED
