"""Which database a model lives in: monitoring's in its own when MONITORING_DATABASE_URL is set."""

from typing import Any

from django.conf import settings


class MonitoringRouter:
    """Sends the app `monitoring` to the database of that name, and everything else to the default one."""

    def _target(self, app_label: str) -> str:
        return "monitoring" if app_label == "monitoring" and "monitoring" in settings.DATABASES else "default"

    def db_for_read(self, model: Any, **hints: Any) -> str:
        """Return the database to read `model` from."""
        return self._target(model._meta.app_label)

    def db_for_write(self, model: Any, **hints: Any) -> str:
        """Return the database to write `model` to."""
        return self._target(model._meta.app_label)

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        """Relations stay inside one database."""
        return self._target(one._meta.app_label) == self._target(other._meta.app_label)

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        """Each app migrates where it lives."""
        return db == self._target(app_label)
