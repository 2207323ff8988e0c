"""What of the SDK object a principal may use: a table. A method that it does not name is not there for principals."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from investigation_sdk.security.roles import Action

READS: Final[Mapping[str, Action]] = MappingProxyType(
    {
        "get": Action.READ,
        "find": Action.READ,
        "lookup": Action.READ,
        "list": Action.READ,
        "progress": Action.READ,
        "changed_progress": Action.READ,
        "phases": Action.READ,
        "tools": Action.READ,
        "tool_totals": Action.READ,
        "resumes": Action.READ,
        "resume_preview": Action.READ,
        "events": Action.READ,
        "iter_events": Action.READ,
        "payload": Action.READ,
        "snapshots": Action.READ,
        "tail": Action.READ,
        "verify": Action.VERIFY,
        "metrics": Action.METRICS,
        "rebuild": Action.REBUILD,
    }
)
"""Methods that read, each with what it needs; ``.ci/generate_sync.py`` makes ``principal_reads.py`` of it."""

WITHHELD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "investigation": "drives: the process decides what it runs, and needs no role for it",
        "attach": "drives, as `investigation`",
        "run": "drives, as `investigation`",
        "investigator": "registers a function of the process",
        "worker": "drives, as `investigation`",
        "wait": "`tail` ends where the investigation ends, and asks the table again as it goes on",
        "sync": "its own is `sdk.sync.as_principal`",
        "as_principal": "a principal does not become another one",
        "hearing": "says what the process hears, of no investigation",
        "command_for": "names the store, which is the process' own",
        "flush": "concerns all that the process records",
        "aclose": "the store is the process' own",
    }
)
"""Methods that no principal has, each with the reason."""

WITHHELD_COMMANDS: Final[Mapping[str, str]] = MappingProxyType({"on_state": "registers a function of the process"})
"""The same for ``sdk.service``."""
