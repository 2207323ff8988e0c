"""A session that is referenced weakly: one that is compiled by itself is not."""

from __future__ import annotations

from investigation_sdk.engine.session import Session


class KeptSession(Session):
    """See :class:`~investigation_sdk.engine.session.Session`."""
