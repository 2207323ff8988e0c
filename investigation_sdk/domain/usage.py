"""What was used: counts that stay within 64 bits, and costs as decimals whose sums are exact."""

from __future__ import annotations

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from typing import Final

from investigation_sdk.errors import InvalidArgument

_EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
"""Sums depend on no decimal context of the application's, and are not rounded."""


def add_exactly(one: Decimal, other: Decimal) -> Decimal:
    """The sum, with all its digits."""
    return _EXACT.add(one, other)


MAX_COUNT: Final = 2**53
"""Largest count that may be reported for one call, or at once."""

MAX_SUM: Final = 2**63 - 1
"""Largest sum that every store holds; sums stop there."""

_MAX_COST: Final = Decimal(10) ** 15
_LEAST_EXPONENT: Final = -30


def check_count(name: str, count: object) -> int:
    """A count that was reported.

    Raises:
        InvalidArgument: it is not a whole number from 0 to :data:`MAX_COUNT`.
    """
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_COUNT:
        raise InvalidArgument(f"{name}={count!r} is not a whole number from 0 to 2**53")
    return int(count)


def add_counts(one: int, other: int) -> int:
    """The sum, at most :data:`MAX_SUM`."""
    return min(MAX_SUM, one + other)


def check_cost(cost: Decimal | float) -> Decimal:
    """A cost as a decimal; a float as the shortest decimal that stands for it.

    Raises:
        InvalidArgument: it is infinite, not a number, less than 0, 10**15 or more, or has more than 30 decimal places.
    """
    try:
        exact = cost if isinstance(cost, Decimal) else Decimal(str(cost))
    except InvalidOperation:
        raise InvalidArgument(f"cost_estimate={cost!r} is not a number", argument="cost_estimate") from None
    if not exact.is_finite():
        raise InvalidArgument(f"cost_estimate={cost} is not a finite number")
    exponent = exact.as_tuple().exponent
    if not 0 <= exact < _MAX_COST or (isinstance(exponent, int) and exponent < _LEAST_EXPONENT):
        raise InvalidArgument(f"cost_estimate={cost} is not from 0 to 10**15, with at most 30 decimal places")
    return exact


def cost_text(cost: Decimal) -> str:
    """A cost as events have it: plain digits, without an exponent."""
    return format(cost, "f")
