"""The HTTP API: a FastAPI router to mount in an application, or an application of its own. Needs the extra ``api``."""

from __future__ import annotations

from investigation_sdk.errors import ConfigurationError

try:
    import fastapi as fastapi
except ImportError:
    raise ConfigurationError(
        "The HTTP API needs FastAPI, which is not installed: pip install 'investigation-sdk[api]'"
    ) from None

from investigation_sdk.api.router import create_app, create_router

__all__ = ["create_app", "create_router"]
