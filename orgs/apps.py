"""Django's handle on the app."""

from django.apps import AppConfig


class OrgsConfig(AppConfig):
    """Names the app."""

    name = "orgs"
    verbose_name = "Organizations"

    def ready(self) -> None:
        """Register the system checks."""
        from orgs import checks  # noqa: F401
