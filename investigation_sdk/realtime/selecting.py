"""Which investigations somebody follows who follows more than one: those of a type, of a user, or all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.engine.sight import equals
from investigation_sdk.storage.commit import Where


class Selection(NamedTuple):
    """What is followed.

    Attributes:
        investigation_type: Of this type; None: of any.
        user_id: Of this user; None: of anybody.
        tenant: Of this tenant, empty where it has none; None: of any.
    """

    investigation_type: str | None = None
    user_id: str | None = None
    tenant: str | None = None

    def holds(self, row: InvestigationRow) -> bool:
        """Whether it is one of them."""
        return (
            self.investigation_type in (None, row.investigation_type)
            and self.user_id in (None, row.user_id)
            and self.tenant in (None, row.tenant_id)
        )

    def wheres(self) -> list[Where]:
        """As conditions on rows."""
        return [
            *equals("investigation_type", self.investigation_type),
            *equals("user_id", self.user_id),
            *equals("tenant_id", self.tenant),
        ]


class Identity(NamedTuple):
    """What of an investigation decides who follows it, and never changes."""

    investigation_type: str
    user_id: str | None
    tenant: str


def identity(row: InvestigationRow) -> Identity:
    """That of a row."""
    return Identity(row.investigation_type, row.user_id, row.tenant_id)


def holding(one: Identity) -> Iterator[Selection]:
    """All selections that hold it, whether somebody follows them or not."""
    for some in product({one.investigation_type, None}, {one.user_id, None}, {one.tenant, None}):
        yield Selection(*some)
