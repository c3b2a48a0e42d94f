"""While a new version starts, processes of the old one still write rows, and know nothing of its columns."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.db import connection, migrations
from django.db.migrations.loader import MigrationLoader
from django.db.models import Model
from django.utils import timezone

from llm_gateway.models import Attempt
from llm_gateway.money import ledger, records
from monitoring.models import Channel
from orgs import organizations
from orgs.models import IdempotencyKey

SINCE: Final = {"orgs": 12, "orchestrators": 17, "llm_gateway": 10, "monitoring": 12}
"""The migrations that are looked at, from this number on; none of those before was ever part of a release."""


def later_columns() -> Iterator[tuple[str, migrations.AddField]]:
    """Yield the columns that migrations add to tables that were there before them."""
    for (app, name), migration in MigrationLoader(None).disk_migrations.items():
        if name[:4].isdigit() and int(name[:4]) >= SINCE.get(app, 10_000):
            made = {one.name_lower for one in migration.operations if isinstance(one, migrations.CreateModel)}
            added = (one for one in migration.operations if isinstance(one, migrations.AddField))
            yield from ((f"{app}.{name}", one) for one in added if one.model_name_lower not in made)


@pytest.mark.once
def test_a_later_column_may_be_left_out_by_who_does_not_know_it() -> None:
    found = list(later_columns())
    assert ("orgs.0012_answers_by_task", "task_id") in [(where, one.name) for where, one in found]
    wrong = [f"{where}: {one.name}" for where, one in found if not (one.field.null or one.field.has_db_default())]
    assert wrong == []


def written_again(row: Model, without: str, **changed: Any) -> None:
    """Insert a row once more as a process that does not know a column does, with other values in some."""
    columns = [one for one in row._meta.concrete_fields if not one.primary_key and one.name != without]
    names = ", ".join(connection.ops.quote_name(str(one.column)) for one in columns)
    values = ", ".join("%s" if one.name in changed else connection.ops.quote_name(str(one.column)) for one in columns)
    given = [changed[one.name] for one in columns if one.name in changed]
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {row._meta.db_table} ({names}) SELECT {values} FROM {row._meta.db_table}", given)


@pytest.mark.django_db
def test_rows_of_the_version_before_are_taken() -> None:
    home = organizations.create("acme", name="Acme", acting_user=None)
    channel = Channel.objects.create(channel_id="chn_1", organization_id=home.pk, name="hook", kind="webhook")
    written_again(channel, "takes_approvals", channel_id="chn_2", name="other")
    assert Channel.objects.get(channel_id="chn_2").takes_approvals is False

    at = timezone.now().timestamp()
    begin = records.Begin(call_id="call-1", organization_id="acme", requested_model="m", at=at, surface="chat")
    ledger.write([begin, records.Attempt(call_id="call-1", number=1, provider="p", model="m", at=at)], holder="p-1")
    written_again(Attempt.objects.get(), "provider_request_id", number=2)
    assert Attempt.objects.get(number=2).provider_request_id == ""

    answer = IdempotencyKey.objects.create(caller="c", key="k", fingerprint="f", created_at=timezone.now())
    written_again(answer, "task_id", key="l")
    assert IdempotencyKey.objects.get(key="l").task_id == ""
