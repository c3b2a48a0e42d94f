"""Django's handle on the project package: configures logs and Sentry, and wires the apps together."""

from django.apps import AppConfig


class MoolaiConfig(AppConfig):
    """Runs once per process, after all models are loaded."""

    name = "moolai"

    def ready(self) -> None:
        """Configure what every process needs."""
        from moolai import checks, logs, wiring  # noqa: F401  (checks register themselves)

        logs.configure()
        wiring.connect()
