"""Django's handle on the app."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class MonitoringConfig(AppConfig):
    """Names the app."""

    name = "monitoring"
    verbose_name = "Monitoring"

    def ready(self) -> None:
        """Make the default rules whenever the tables were migrated."""
        post_migrate.connect(_seed, sender=self)


def _seed(using: str, apps: Any = None, **_: Any) -> None:
    from monitoring.alerts import defaults
    from monitoring.models import Rule

    if using == "default" and (apps is None or _has(apps, Rule.__name__)):
        defaults.seed()


def _has(apps: Any, name: str) -> bool:
    """Whether the tables are there: a migration may have gone back to before them."""
    return any(model._meta.object_name == name for model in apps.get_models() if model._meta.app_label == "monitoring")
