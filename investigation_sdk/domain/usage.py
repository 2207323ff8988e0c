"""Costs: decimals, as text in events, whose sums are exact."""

from __future__ import annotations

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Final

_EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
"""Sums depend on no decimal context of the application's, and are not rounded."""


def add_exactly(one: Decimal, other: Decimal) -> Decimal:
    """The sum, with all its digits."""
    return _EXACT.add(one, other)


def check_cost(cost: Decimal | float) -> Decimal:
    """A cost as a decimal; a float as the shortest decimal that stands for it.

    Raises:
        ValueError: it is infinite, or not a number.
    """
    exact = cost if isinstance(cost, Decimal) else Decimal(str(cost))
    if not exact.is_finite():
        raise ValueError(f"cost_estimate={cost} is not a finite number")
    return exact


def cost_text(cost: Decimal) -> str:
    """A cost as events have it: plain digits, without an exponent."""
    return format(cost, "f")
