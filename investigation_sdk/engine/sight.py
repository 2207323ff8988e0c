"""Whose investigations are seen: the one place where what is asked for meets who asks."""

from __future__ import annotations

from collections.abc import Sequence

from investigation_sdk.domain.rows import InvestigationRow
from investigation_sdk.errors import InvestigationNotFound
from investigation_sdk.storage.commit import Where


def equals(field: str, value: str | Sequence[str] | None) -> list[Where]:
    """A condition that a value, or one of several, is there; none for None."""
    if value is None:
        return []
    if isinstance(value, str):
        return [Where(field, "=", str(value))]
    return [Where(field, "in", tuple(str(v) for v in value))]


class Sight:
    """Sees all investigations of one tenant, or of all tenants.

    Args:
        tenant: Which one; empty: all of them.
    """

    def __init__(self, tenant: str = "") -> None:
        self.tenant = tenant

    def admit(self, row: object, id: str) -> InvestigationRow:
        """The row that was found by an id, if it is to be seen.

        Raises:
            InvestigationNotFound: there is none, or it is another tenant's.
        """
        if not isinstance(row, InvestigationRow) or self.tenant not in ("", row.tenant_id):
            raise InvestigationNotFound(f"There is no investigation {id} in this store.", investigation_id=id)
        return row

    def investigations(self, user_id: str | Sequence[str] | None = None) -> list[Where]:
        """Conditions that leave the investigations that are seen; `user_id`: of those users alone."""
        return [*equals("tenant_id", self.tenant or None), *equals("user_id", user_id)]

    def keys(self) -> list[Where]:
        """Conditions that leave the investigations whose keys are known: where there is no tenant, those of none."""
        return [Where("tenant_id", "=", self.tenant)]

    def calls(self) -> list[Where]:
        """Conditions that leave the calls that are seen, across investigations."""
        return equals("tenant_id", self.tenant or None)
