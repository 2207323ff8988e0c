"""The name of an owner, for people."""

from __future__ import annotations


def describe(owner: str) -> str:
    """An owner for people: ``process 4711 on host``."""
    parts = owner.split("/")
    return f"process {parts[3]} on {parts[0].partition('.')[0]}" if len(parts) == 6 else owner
