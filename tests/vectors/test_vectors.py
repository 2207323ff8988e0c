"""The test vectors hold for our code, and for code that knows nothing but the docstring of ``storage.chain``."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from investigation_sdk.domain.events import Event
from investigation_sdk.domain.states import InvestigationState
from investigation_sdk.storage.chain import link, seal

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("chain.json").read_text("ascii"))["vectors"]
IDS = [f"{vector['chain']}-{vector['members']['sequence']}" for vector in VECTORS]


# ---- an implementation of its own: from the docstring alone, with hashlib, json and struct


def canonical(value: Any) -> str:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))  # RFC 8785, section 3.2.3
        return "{" + ",".join(canonical(name) + ":" + canonical(value[name]) for name in names) + "}"
    return json.dumps(value, ensure_ascii=False)


def chained(previous: bytes, header: str, event_data: str) -> bytes:
    framed = previous
    for text in (header, event_data):
        framed += struct.pack(">Q", len(text.encode("utf-8"))) + text.encode("utf-8")
    return hashlib.sha256(framed).digest()


# ----


@pytest.mark.parametrize("vector", VECTORS, ids=IDS)
@pytest.mark.parametrize("implementation", [link, chained])
def test_hash(implementation: Any, vector: dict[str, Any]):
    previous = bytes.fromhex(vector["previous_hash"])
    assert implementation(previous, vector["header"], vector["event_data"]).hex() == vector["hash"]


@pytest.mark.parametrize("vector", VECTORS, ids=IDS)
def test_header_is_the_canonical_json_of_its_members(vector: dict[str, Any]):
    assert canonical(vector["members"]) == vector["header"]


@pytest.mark.parametrize("vector", VECTORS, ids=IDS)
def test_we_seal_to_these_bytes(vector: dict[str, Any]):
    members = vector["members"]
    event = Event(members["id"], members["type"], {}, 0, actor=members.get("actor"))
    event.sequence, event.at, event.attempt = members["sequence"], members["at"], members["attempt"]
    event.parent_call, event.metadata = members.get("parent_call"), members.get("metadata")
    event.schema_version = members["schema"]
    for name in ("previous_state", "new_state"):
        if name in members:
            setattr(event, name, InvestigationState(members[name]))
    tenant = members.get("tenant", "")
    sealed = seal(members["investigation"], tenant, event, vector["event_data"], bytes.fromhex(vector["previous_hash"]))
    assert (sealed.header, sealed.event_data, sealed.hash.hex()) == (
        vector["header"],
        vector["event_data"],
        vector["hash"],
    )


def test_each_chain_begins_with_zeros_and_has_no_gap():
    head: dict[str, str] = {}
    for vector in VECTORS:
        assert vector["previous_hash"] == head.get(vector["chain"], "00" * 32)
        head[vector["chain"]] = vector["hash"]
    assert set(head) == {"plain", "everything"}


def test_vectors_have_what_goes_wrong_elsewhere():
    members = [vector["members"] for vector in VECTORS]
    for name in ("actor", "metadata", "new_state", "parent_call", "previous_state", "tenant"):
        assert any(name in m for m in members), name
        assert any(name not in m for m in members), name
    texts = [vector["event_data"] for vector in VECTORS]
    assert "{}" in texts
    assert any("🚲" in text for text in texts)
    assert any(len(text) > 256 for text in texts)
    assert any(len(text) != len(text.encode()) for text in texts)


@pytest.mark.parametrize("vector", VECTORS, ids=IDS)
def test_every_part_counts(vector: dict[str, Any]):
    previous, header, data = bytes.fromhex(vector["previous_hash"]), vector["header"], vector["event_data"]
    others = [
        link(bytes(31) + b"\1", header, data),
        link(previous, header + " ", data),
        link(previous, header, data + " "),
        link(previous, header + data, ""),  # lengths frame the texts: none can move over the border
        link(previous, header[:-1], header[-1:] + data),
    ]
    assert vector["hash"] not in {other.hex() for other in others}
