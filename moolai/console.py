"""The console's frame: navigation and dashboard."""

from typing import Any

from django.conf import settings

urlpatterns: list[Any] = []


def environment_badge(request: Any) -> list[str]:
    """Return the badge that names the environment."""
    return ["Production", "danger"] if settings.IS_PRODUCTION else ["Development", "info"]


def navigation(request: Any) -> list[dict[str, Any]]:
    """Return the sidebar."""
    return []


def dashboard(request: Any, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the front page shows."""
    return context
