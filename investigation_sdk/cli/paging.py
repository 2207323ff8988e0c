"""Lists of any length, read as they are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from investigation_sdk import Page

T = TypeVar("T")

_PAGE: Final = 200


class Paged(Generic[T]):
    """Records, so many at most.

    Args:
        read: Reads a page: after which id, and how many records.
        after: Where to begin.
        limit: How many at most.

    Attributes:
        next: After they were consumed: where the list goes on, None where it does not.
    """

    def __init__(self, read: Callable[[str | None, int], Page[T]], after: str | None, limit: int) -> None:
        self.next = after
        self._read = read
        self._left = limit

    def __iter__(self) -> Iterator[T]:
        while self._left > 0:
            page = self._read(self.next, min(self._left, _PAGE))
            self._left -= len(page)
            self.next = page.next
            yield from page
            if self.next is None:
                return
