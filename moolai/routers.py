"""Which database a model lives in: measurements in their own when MONITORING_DATABASE_URL is set, all else in one."""

from typing import Any, Final

from django.conf import settings

# The models of the app `monitoring` that hold measurements, in lower case. They have no foreign keys; what needs
# an audit row or an event in its transaction is no measurement (docs/decisions/0009-measurements.md).
MEASUREMENTS: Final = frozenset({"systemmetric", "metricrollup", "metricmark", "requestmetric", "activity"})


class MonitoringRouter:
    """Sends measurements to the database `monitoring` where there is one, and everything else to the default one."""

    def _target(self, app_label: str, model_name: str | None) -> str:
        is_measurement = app_label == "monitoring" and model_name in MEASUREMENTS
        return "monitoring" if is_measurement and "monitoring" in settings.DATABASES else "default"

    def _home(self, model: Any) -> str:
        return self._target(model._meta.app_label, model._meta.model_name)

    def db_for_read(self, model: Any, **hints: Any) -> str:
        """Return the database to read `model` from."""
        return self._home(model)

    def db_for_write(self, model: Any, **hints: Any) -> str:
        """Return the database to write `model` to."""
        return self._home(model)

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        """Relations stay inside one database."""
        return self._home(one) == self._home(other)

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool:
        """Each model migrates where it lives; a migration of data names its model in `hints={"model_name": …}`."""
        return db == self._target(app_label, model_name)
