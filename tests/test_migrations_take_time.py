"""Statements of migrations have no time limit, those of everybody else have."""

from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.models.signals import pre_migrate

pytestmark = [pytest.mark.once("postgres"), pytest.mark.django_db(transaction=True)]


def limit() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        return str(cursor.fetchone()[0])


def test_only_migrations_have_no_time_limit() -> None:
    seen: list[str] = []

    def look(**signal: Any) -> None:
        seen.append(limit())

    last = list(apps.get_app_configs())[-1]
    pre_migrate.connect(look, sender=last)
    try:
        call_command("migrate", verbosity=0)
    finally:
        pre_migrate.disconnect(look, sender=last)
    assert seen == ["0"]
    assert limit() == "30s"
