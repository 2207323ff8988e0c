"""Writes ``chain.json``: test vectors for whoever reads the log with other code. Run by hand; the file is kept.

python tests/vectors/generate.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.storage.chain import seal
from investigation_sdk.storage.commit import GENESIS

S = InvestigationState
ID = "019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b7e"
AT = 1_764_000_000_000_000
CHAINS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "plain": (
        "",
        [
            {
                "type": "investigation.created",
                "event_data": '{"subject":"x","investigation_type":"general"}',
                "new": "created",
            },
            {"type": "state.transition", "event_data": "{}", "old": "created", "new": "queued"},
            {"type": "tool.started", "event_data": '{"tool":"whois","input":{"ip":"203.0.113.9"}}', "attempt": 1},
        ],
    ),
    "everything": (
        'Ärzte & Söhne "1"',
        [
            {
                "type": "investigation.created",
                "event_data": '{"subject":"Überweisung 🚲 nach 東京","investigation_type":"general"}',
                "new": "created",
                "actor": 'Jörg \\ "J" O\'Neill\t\n\u0001\u007f\u2028 🕵️',
            },
            {
                "type": "tool.started",
                "event_data": '{"tool":"größe","input":{"n":9007199254740993,"x":1e+22}}',
                "parent_call": "019a1f3e-7c1b-7d52-9a51-0f6f6f1c9b80",
                "attempt": 2,
                "metadata": {"late": True, "stale": True},
            },
            {
                "type": "investigation.failed",
                "event_data": '{"kind":"error"}',
                "old": "running",
                "new": "failed",
                "attempt": 2,
                "actor": "",
                "metadata": {"z": {"b": 1, "a": -7, "B": "\u0000"}, "a": "spät 🚲"},
            },
            {"type": "my.note", "event_data": "{}", "attempt": 2, "schema": 12, "metadata": {}},
            {"type": "my.note", "event_data": '{"long":"' + "0123456789ü" * 40 + '"}', "attempt": 2},
        ],
    ),
}


def main() -> None:
    vectors = []
    for name, (tenant, steps) in CHAINS.items():
        head = GENESIS
        for sequence, step in enumerate(steps, 1):
            event = Event(f"019a1f3e-7c1c-7000-8000-{sequence:012x}", step["type"], {}, 0)
            event.sequence, event.at, event.attempt = sequence, AT + sequence, step.get("attempt", 0)
            event.schema_version = step.get("schema", 1)
            event.actor, event.parent_call, event.metadata = (
                step.get("actor"),
                step.get("parent_call"),
                step.get("metadata"),
            )
            event.previous_state = S(step["old"]) if "old" in step else None
            event.new_state = S(step["new"]) if "new" in step else None
            sealed = seal(ID, tenant, event, step["event_data"], head)
            vectors.append(
                {
                    "chain": name,
                    "members": json.loads(sealed.header),
                    "header": sealed.header,
                    "event_data": sealed.event_data,
                    "previous_hash": head.hex(),
                    "hash": sealed.hash.hex(),
                }
            )
            head = sealed.hash
    about = [
        "hash = SHA-256(previous_hash, length of header, header, length of event_data, event_data);",
        "texts as UTF-8, lengths in bytes as 8 bytes big-endian; header is the canonical JSON (RFC 8785) of members.",
        "See investigation_sdk/storage/chain.py. Within a chain, each vector follows the one before it.",
    ]
    text = json.dumps({"about": about, "vectors": vectors}, indent=1)
    Path(__file__).with_name("chain.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
