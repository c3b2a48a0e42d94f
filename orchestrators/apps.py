"""Django's handle on the app."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class OrchestratorsConfig(AppConfig):
    """Names the app."""

    name = "orchestrators"
    verbose_name = "Orchestrators"

    def ready(self) -> None:
        """Make the default routes of tasks whenever the tables were migrated."""
        post_migrate.connect(_seed, sender=self)


def _seed(using: str, apps: Any = None, **_: Any) -> None:
    from orchestrators.work import routing

    if using == "default" and (apps is None or ("orchestrators", "route") in _models(apps)):
        routing.seed()


def _models(apps: Any) -> set[tuple[str, str]]:
    """Return the tables that are there: a migration may have gone back to before them."""
    return {(model._meta.app_label, model._meta.model_name) for model in apps.get_models()}
