"""Django's handle on the project package: configures logs and Sentry, and wires the apps together."""

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate, pre_migrate

from moolai import memory

memory.load_lean()  # before the models of any app are loaded


class MoolaiConfig(AppConfig):
    """Runs once per process, after all models are loaded."""

    name = "moolai"

    def ready(self) -> None:
        """Configure what every process needs."""
        from moolai import checks, logs, wiring  # noqa: F401  (checks register themselves)

        logs.configure()
        wiring.connect()
        pre_migrate.connect(_take_time)  # from every app that has models
        post_migrate.connect(_take_time_no_more)


def _take_time(using: str, **signal: Any) -> None:
    """Let the statements of migrations take their time: an index over a large table needs more than the usual 30 s."""
    _execute("SET statement_timeout = 0", using)


def _take_time_no_more(using: str, **signal: Any) -> None:
    _execute("RESET statement_timeout", using)


def _execute(statement: str, using: str) -> None:
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute(statement)
