"""Names of OpenTelemetry attributes and instruments, in one place.

``gen_ai.*`` follows OpenTelemetry's GenAI semantic conventions, which are still in development; the Python package of
the conventions marks all of them as moved, so they are spelled here. ``openinference.*`` and the names beside it
follow OpenInference. What neither has a name for is ours, under ``investigation.*``.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
"""Version of the semantic conventions that the names below are taken from."""

SCOPE: Final = ("investigation_sdk", version("investigation-sdk"))
"""Name and version of the instrumentation."""

# ---- OpenTelemetry, GenAI and general
OPERATION: Final = "gen_ai.operation.name"
EXECUTE_TOOL: Final = "execute_tool"
INVOKE_WORKFLOW: Final = "invoke_workflow"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
AGENT_NAME: Final = "gen_ai.agent.name"
AGENT_VERSION: Final = "gen_ai.agent.version"
REQUEST_MODEL: Final = "gen_ai.request.model"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"

# ---- OpenInference
OI_KIND: Final = "openinference.span.kind"
OI_SESSION: Final = "session.id"
OI_AGENT: Final = "agent.name"
OI_TOOL: Final = "tool.name"
OI_TOOL_CALL: Final = "tool_call.id"
OI_INPUT: Final = "input.value"
OI_INPUT_TYPE: Final = "input.mime_type"
OI_OUTPUT: Final = "output.value"
OI_OUTPUT_TYPE: Final = "output.mime_type"
OI_PROMPT: Final = "llm.token_count.prompt"
OI_COMPLETION: Final = "llm.token_count.completion"
OI_TOTAL: Final = "llm.token_count.total"
JSON: Final = "application/json"

# ---- ours, on spans
INVESTIGATION_ID: Final = "investigation.id"
INVESTIGATION_TYPE: Final = "investigation.type"
ATTEMPT: Final = "investigation.attempt"
OUTCOME: Final = "investigation.outcome"
PAUSED: Final = "investigation.paused.duration"
"""In s."""

PHASE: Final = "investigation.phase"
PHASE_ID: Final = "investigation.phase.id"
PHASE_NAME: Final = "investigation.phase.name"
CALL_ID: Final = "investigation.tool.call_id"
EFFECT: Final = "investigation.tool.effect"
TOOL_VERSION: Final = "investigation.tool.version"
AGAIN: Final = "investigation.tool.again"
SUMMARY: Final = "investigation.tool.result_summary"
TOKENS_USED: Final = "investigation.usage.tokens_used"
API_CALLS_MADE: Final = "investigation.usage.api_calls_made"
COST_ESTIMATE: Final = "investigation.usage.cost_estimate"

# ---- ours, on metrics
PREVIOUS_STATE: Final = "investigation.state.previous"
NEW_STATE: Final = "investigation.state.new"
FAILURE_KIND: Final = "investigation.failure.kind"
WARNING_KIND: Final = "investigation.warning.kind"

# ---- instruments: name, unit, what it measures
TOOL_DURATION: Final = ("gen_ai.execute_tool.duration", "s", "How long the bodies of recorded calls ran.")
WORKFLOW_DURATION: Final = (
    "gen_ai.workflow.duration",
    "s",
    "How long blocks drove their investigations, without pauses.",
)
ACTIVE: Final = ("investigation.active", "{investigation}", "Investigations that this process drives.")
TRANSITIONS: Final = ("investigation.transitions", "{transition}", "Changes of state that this process wrote.")
FAILURES: Final = ("investigation.failures", "{failure}", "Failures that this process wrote, by their kind.")
PHASE_DURATION: Final = ("investigation.phase.duration", "s", "How long phases took.")
TOOL_RETRIES: Final = ("investigation.tool.retries", "{call}", "Calls that ran again in a later attempt.")
QUEUE: Final = ("investigation.recorder.queue", "{event}", "Events that are not durable yet.")
DROPPED: Final = ("investigation.recorder.dropped", "{event}", "Things that could not be recorded as they were.")
COMMIT_DURATION: Final = ("investigation.store.commit.duration", "s", "How long the store took for a batch.")
COMMIT_SIZE: Final = ("investigation.store.commit.size", "{event}", "Events in a batch.")
LEASE_LOST: Final = ("investigation.lease.lost", "{investigation}", "Blocks whose investigation another owner took.")
OLDEST: Final = ("investigation.retention.oldest_age", "s", "How long ago the finished one ended that ended first.")

# ---- log events
TOOL_EXCEPTION: Final = "gen_ai.execute_tool.exception"
INVESTIGATION_FAILED: Final = "investigation.failed"
ALERT: Final = "investigation.alert"
