"""What a tool says of its own call while it runs: what it used, and how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from investigation_sdk.arguments import NUMBER_OR_NONE, WORDS_OR_NONE, check
from investigation_sdk.domain.progress import percent
from investigation_sdk.domain.usage import add_exactly, check_cost, check_count, cost_text

adding: threading.RLock = threading.RLock()  # the garbage collector may run a tool in there


class ToolCall:
    """The call that is running now: what :func:`current_tool` gives inside a tool.

    Attributes:
        id: Of the call; empty outside one.
        recording: False outside a recorded call, where everything here is inert, so that tools stay testable.
        attempt: The investigation's attempt, from 1; 0 outside.
        idempotency_key: To hand to a service that does a thing once per key; the same when a call that was cut off
            runs again in a later attempt.
    """

    __slots__ = ("_far", "attempt", "id", "idempotency_key", "progress", "recording", "summary", "usage")

    def __init__(
        self, id: str = "", attempt: int = 0, idempotency_key: str = "", far: Callable[[int], None] | None = None
    ) -> None:
        self.id: str = id
        self.idempotency_key: str = idempotency_key
        self.attempt: int = attempt
        self.recording: bool = bool(id)
        self.usage: dict[str, Any] | None = None
        self.progress: float | None = None
        self._far = far
        self.summary: str | None = None

    def report(
        self,
        *,
        tokens_used: int = 0,
        api_calls_made: int = 0,
        cost_estimate: Decimal | float = 0,
        input_tokens: int = 0,
        output_tokens: int = 0,
        progress: float | None = None,
        summary: str | None = None,
    ) -> None:
        """Say what the call used and how far it is. Counters add to what was reported; the others replace.

        Args:
            tokens_used: Tokens, where they are counted as one.
            api_calls_made: Calls of other services.
            cost_estimate: In whatever currency you count; sums are exact for Decimal.
            input_tokens: Tokens that a model was given; counted in ``tokens_used`` too.
            output_tokens: Tokens that a model gave; likewise.
            progress: 0 to 1.
            summary: One line on the result, for people.
        """
        if not self.recording:
            return
        check(progress=(progress, NUMBER_OR_NONE), summary=(summary, WORDS_OR_NONE))
        with adding:
            self.usage = add_usage(self.usage, tokens_used, api_calls_made, cost_estimate, input_tokens, output_tokens)
        if progress is not None:
            self.progress = min(1.0, max(0.0, progress))
            if self._far is not None:
                self._far(percent(progress))
        if summary is not None:
            self.summary = summary


def add_usage(
    usage: dict[str, Any] | None,
    tokens: int,
    calls: int,
    cost: Decimal | float,
    input_tokens: int = 0,
    output_tokens: int = 0,
) -> dict[str, Any] | None:
    """Counters added to counters: ``tokens_used``, ``api_calls_made``, ``input_tokens`` and ``output_tokens`` as int,
    ``cost_estimate`` as decimal text. The last two tokens are counted in the first.

    Raises:
        ValueError: a count or the cost is less than 0, too large, or not a number.
    """
    if not (tokens or calls or cost or input_tokens or output_tokens):
        return usage
    counts = {
        "tokens_used": tokens,
        "api_calls_made": calls,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }
    for name, count in counts.items():
        check_count(name, count)
    counts["tokens_used"] += input_tokens + output_tokens
    total = dict(usage) if usage else {}
    for name, count in counts.items():
        if count:
            total[name] = check_count(name, total.get(name, 0) + count)
    if cost:
        so_far = Decimal(total.get("cost_estimate", "0"))
        total["cost_estimate"] = cost_text(add_exactly(so_far, check_cost(cost)))
    return total
