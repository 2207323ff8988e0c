"""Results of tools in Redis: those of one process are found by all others on the same store."""

from __future__ import annotations

from investigation_sdk.realtime.redis_cache import RedisCache


class RedisResults:
    """See :class:`investigation_sdk.engine.results.Results`."""

    def __init__(self, cache: RedisCache) -> None:
        self._cache = cache

    def known(self, key: str) -> str | None:
        """See there: nothing is."""
        return None

    async def find(self, key: str) -> str | None:
        """See there."""
        return await self._cache.find(self._cache.key("result", key))

    def keep(self, key: str, text: str, seconds: float) -> None:
        """See there."""
        self._cache.keep(self._cache.key("result", key), text, seconds)
