"""Where tests look in: a function that is called with each event of a call before it is submitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

probe: Callable[[Any, Any], None] | None = None
"""Set by :func:`investigation_sdk.testing.crash_at` only."""
