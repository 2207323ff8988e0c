"""What the modules that mypyc compiles say to it. Where they are not compiled, it means nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

__all__ = ["mypyc_attr", "not_native"]

C = TypeVar("C")

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**_options: bool) -> Callable[[type[C]], type[C]]:
        """What mypyc looks for on a class."""
        return lambda cls: cls


def not_native(cls: type[C]) -> type[C]:
    """The class as it is. mypyc makes structs of classes, to which there are no weak references; one with a decorator
    of which it knows nothing it leaves as it is."""
    return cls
