"""Classes of all kinds, and the way of a value into its text and back."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from typing import Any, Generic, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel, field_validator

from investigation_sdk.storage.codec import decode, encode
from investigation_sdk.storage.rebuild import Rebuilt, rebuild

T = TypeVar("T")


class Color(Enum):
    RED = "r"
    PAIR = (1, Decimal("2.50"))
    ALSO_RED = "r"  # noqa: PIE796 - an alias


class Level(IntEnum):
    LOW = 1
    HIGH = 3


class Name(StrEnum):
    A = "a"
    B = "b"


class Mode(Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: int
    color: Color = Color.RED


class UserId(str):
    __slots__ = ()


class Ids(list[UserId]):
    pass


@dataclass
class Finding:
    level: Level
    points: list[Point] = field(default_factory=list)
    parent: Finding | None = None
    tags: frozenset[Name] = frozenset()
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Frozen:
    a: int
    color: Color


RAN: list[str] = []


@dataclass
class Loud:
    a: int
    b: int = field(init=False)
    start: InitVar[int] = 0

    def __post_init__(self, start: int) -> None:
        RAN.append("post_init")
        self.b = start + self.a


@dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = field(default_factory=list)


class Account(BaseModel):
    id: UUID
    name: Name = Name.A
    findings: list[Finding] = []
    by_level: dict[Level, Point] = {}
    balance: Decimal = Decimal(0)
    raw: bytes = b""
    _note: str = PrivateAttr("none")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Aliased(BaseModel):
    inner: int = Field(alias="outer", gt=0)


class Generous(BaseModel, Generic[T]):
    item: T


class Whole(RootModel[list[Point]]):
    pass


class Doubled(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def double(cls, n: int) -> int:
        return n if n % 2 == 0 else 2 * n


class Movie(TypedDict, total=False):
    color: Color
    points: list[Point]


Alias = NewType("Alias", Account)


def there_and_back(value: Any, annotation: Any) -> Rebuilt:
    encoded = encode(value)
    assert encoded.rebuildable, encoded.warnings
    return rebuild(decode(encoded.text), annotation)


def identical(left: Any, right: Any) -> bool:
    """The same to Python and to the codec, of the very same classes."""
    return (
        type(left) is type(right)
        and left == right
        and repr(left) == repr(right)
        and encode(left).text == encode(right).text
    )


# one tag: hashes of texts differ between runs, and equal sets of several may have different reprs
ACCOUNT = Account(
    id=UUID(int=7),
    name=Name.B,
    findings=[Finding(Level.HIGH, [Point(1), Point(2, Color.PAIR)], Finding(Level.LOW), frozenset({Name.B}))],
    by_level={Level.HIGH: Point(0)},
    balance=Decimal("0.10"),
    raw=b"\0\xff",
)
