"""Classes of the compiled core that are referenced weakly."""

from __future__ import annotations

from typing import TypeVar

C = TypeVar("C")


def weakly_referenced(cls: type[C]) -> type[C]:
    """The class as it is. A compiled class without a decorator is a struct, to which there are no weak references."""
    return cls
