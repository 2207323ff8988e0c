"""Attributes of spans, from events, under the names of one convention or of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from investigation_sdk.domain.events import Event
from investigation_sdk.telemetry import conventions as names

_DECLARED: Final = (("effect", names.EFFECT), ("version", names.TOOL_VERSION), ("again", names.AGAIN))
_AGENT: Final = (("agent_version", names.AGENT_VERSION), ("model", names.REQUEST_MODEL))
_USED: Final = (("tokens_used", names.TOKENS_USED), ("api_calls_made", names.API_CALLS_MADE))
_GENAI_USED: Final = (("input_tokens", names.INPUT_TOKENS), ("output_tokens", names.OUTPUT_TOKENS))
_OI_USED: Final = (
    ("input_tokens", names.OI_PROMPT),
    ("output_tokens", names.OI_COMPLETION),
    ("tokens_used", names.OI_TOTAL),
)


class Attributes:
    """What a span says.

    Args:
        genai: Under the names of OpenTelemetry's GenAI conventions.
        openinference: Under the names of OpenInference.
        content: Arguments and results too, as recorded.
    """

    def __init__(self, genai: bool, openinference: bool, *, content: bool) -> None:  # noqa: FBT001 - a pair of switches
        self._genai = genai
        self._openinference = openinference
        self._content = content
        self._usage = (*_USED, *(_GENAI_USED if genai else ()), *(_OI_USED if openinference else ()))
        self._optional = (*_DECLARED, *_AGENT) if genai else _DECLARED

    def common(self, investigation_id: str) -> dict[str, Any]:
        """Of every span inside the investigation."""
        attributes: dict[str, Any] = {names.INVESTIGATION_ID: investigation_id}
        if self._genai:
            attributes[names.CONVERSATION_ID] = investigation_id
        if self._openinference:
            attributes[names.OI_SESSION] = investigation_id
        return attributes

    def block(self, investigation_id: str, investigation_type: str, attempt: int) -> dict[str, Any]:
        """Of a block around an investigation."""
        attributes = self.common(investigation_id)
        attributes[names.INVESTIGATION_TYPE] = investigation_type
        attributes[names.ATTEMPT] = attempt
        if self._genai:
            attributes[names.OPERATION] = names.INVOKE_WORKFLOW
            attributes[names.WORKFLOW_NAME] = investigation_type
        if self._openinference:
            attributes[names.OI_KIND] = "CHAIN"
        return attributes

    def phase(self, common: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
        """Of a phase, from its ``phase.started``."""
        attributes = {**common, names.PHASE_ID: data["id"], names.PHASE_NAME: data["name"]}
        if self._openinference:
            attributes[names.OI_KIND] = "CHAIN"
        return attributes

    def call(self, investigation_id: str, started: Event) -> dict[str, Any]:
        """Of a call, from its ``tool.started``, for a span of our own. Few, as each costs time: what the spans
        around it say is not said again."""
        data = started.data
        attributes: dict[str, Any] = {}
        if self._genai:
            attributes = {
                names.CONVERSATION_ID: investigation_id,
                names.OPERATION: names.EXECUTE_TOOL,
                names.TOOL_NAME: data["tool"],
                names.TOOL_CALL_ID: started.id,
                names.TOOL_TYPE: "function",
                names.AGENT_NAME: data["agent"],
            }
            if self._content:
                attributes[names.TOOL_ARGUMENTS] = str(data["input"])
        if self._openinference:
            attributes[names.OI_KIND] = "TOOL"
            attributes[names.OI_SESSION] = investigation_id
            attributes[names.OI_TOOL] = data["tool"]
            attributes[names.OI_TOOL_CALL] = started.id
            attributes[names.OI_AGENT] = data["agent"]
            if self._content:
                attributes[names.OI_INPUT] = str(data["input"])
                attributes[names.OI_INPUT_TYPE] = names.JSON
        for member, name in self._optional:
            if member in data:
                attributes[name] = data[member]
        return attributes

    @staticmethod
    def added(investigation_id: str, started: Event) -> dict[str, Any]:
        """Of a call, for the span that a framework made for it: what nobody but us says, under names of our own."""
        ids = {names.INVESTIGATION_ID: investigation_id, names.CALL_ID: started.id}
        return ids | _declared(started.data)

    def usage(self, usage: Mapping[str, Any]) -> dict[str, Any]:
        """Of what was used."""
        attributes: dict[str, Any] = {name: usage[member] for member, name in self._usage if member in usage}
        if "cost_estimate" in usage:
            attributes[names.COST_ESTIMATE] = float(usage["cost_estimate"])
        return attributes

    def outcome(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Of a call's end, from the event that closes it."""
        attributes: dict[str, Any] = self.usage(data["usage"]) if "usage" in data else {}
        if not self._content:
            return attributes
        if "summary" in data:
            attributes[names.SUMMARY] = data["summary"]
        if "output" in data:
            if self._genai:
                attributes[names.TOOL_RESULT] = str(data["output"])
            if self._openinference:
                attributes[names.OI_OUTPUT] = str(data["output"])
                attributes[names.OI_OUTPUT_TYPE] = names.JSON
        return attributes


def _declared(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[member] for member, name in _DECLARED if member in data}


def error_of(data: Mapping[str, Any]) -> str | None:
    """The type of the exception that an event tells of, or None."""
    error = data.get("error")
    return None if not error else str(error.get("type", "_OTHER"))
