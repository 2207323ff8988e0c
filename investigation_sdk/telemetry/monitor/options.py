"""Options of rules and monitors: what will do, and what is said where one will not."""

from __future__ import annotations

import math
from datetime import timedelta

from investigation_sdk.errors import ConfigurationError


def time_option(what: str, option: str, value: object) -> None:
    """Refuse what is no duration longer than 0."""
    if not isinstance(value, timedelta) or value <= timedelta(0):
        raise ConfigurationError(f"{what}: {option}={value!r} is no timedelta longer than 0")


def number_option(what: str, option: str, value: object, least: float, most: float = math.inf) -> None:
    """Refuse what is no finite number from `least` to `most`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most and value < math.inf:
        return
    upto = "" if most == math.inf else f" and at most {most:g}"
    raise ConfigurationError(f"{what}: {option}={value!r} is no number that is at least {least:g}{upto}")


def count_option(what: str, option: str, value: object) -> None:
    """Refuse what is no whole number from 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{what}: {option}={value!r} is no whole number from 1")


def name_option(what: str, value: object) -> None:
    """Refuse what is no text to name something by."""
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{what}: name={value!r} is no text that names it")
