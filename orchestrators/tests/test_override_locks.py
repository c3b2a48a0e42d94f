"""Two writers at once: both suggestions are applied, and what does not go together is never stored together."""

import threading
from collections.abc import Callable

import pytest
from django.db import connection, connections, transaction

from moolai.errors import InvalidInput
from orchestrators import configuration, instances, recommendations, registry_file
from orchestrators.messages import inbox
from orchestrators.messages.inbox import Inbound
from orchestrators.models import Instance, Recommendation
from orgs import organizations
from orgs.models import Organization

pytestmark = [pytest.mark.once("postgres"), pytest.mark.django_db(transaction=True)]
PATIENCE_SECONDS = 10
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def receive(name: str, config: dict[str, object]) -> Recommendation:
    inbox.store([Inbound("orch-001", "org-001", name, "recommendation", {"config": config}, name, 1)])
    return Recommendation.objects.get(message_id=name)


def at_once(works: list[Callable[[], object]]) -> list[Exception]:
    """Do both while the organization is locked, let it go when both wait, and return what went wrong."""
    troubles: list[Exception] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            troubles.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    with transaction.atomic():
        organizations.lock("org-001")
        for thread in threads:
            thread.start()
        waited = threading.Event()
        for _ in range(PATIENCE_SECONDS * 100):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_stat_clear_snapshot()")
                cursor.execute(WAITING)
                if cursor.fetchone()[0] == len(works):
                    break
            waited.wait(0.01)
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return troubles


@pytest.mark.parametrize("target", ["orchestrator", "organization"])
def test_two_suggestions_accepted_at_once_are_both_applied(target: str) -> None:
    home = organizations.create("org-001", name="Acme", acting_user=None)
    instances.create("orch-001", organization=home, acting_user=None, features={"old": True})
    rows = [receive(f"r{name}", {"features": {name: True}}) for name in "ab"]

    def acceptance(row: Recommendation) -> Callable[[], object]:
        return lambda: recommendations.accept(row, acting_user=None, target=target)

    assert at_once([acceptance(row) for row in rows]) == []
    row = Instance.objects.select_related("organization").get()
    assert row.config_document()["features"] == {"a": True, "b": True, "old": True}
    if target == "organization":
        assert Organization.objects.get().settings["config"] == {"features": {"a": True, "b": True}}


def test_a_version_and_an_override_that_do_not_go_together_are_not_both_stored() -> None:
    schema = {"if": {"required": ["llm"]}, "then": {"properties": {"features": {"maxProperties": 0}}}}
    home = organizations.create("org-001", name="Acme", acting_user=None, settings={"config_schema": schema})
    row = instances.create("orch-001", organization=home, acting_user=None)
    (refused,) = at_once(
        [
            lambda: configuration.publish(home, {"llm": {}}, acting_user=None),
            lambda: instances.update(row, acting_user=None, features={"a": 1}),
        ]
    )
    assert isinstance(refused, InvalidInput)
    is_published = "config" in Organization.objects.get().settings
    assert is_published != bool(Instance.objects.get().features)


def test_a_registry_file_locks_organizations_in_the_order_of_all_writers_not_in_its_own() -> None:
    for name in ("acme", "org-001"):
        organizations.create(name, name=name, acting_user=None)
    found = registry_file.parse('{"organizations": {"org-001": {"name": "One"}, "acme": {"name": "Two"}}}')

    def change_both() -> None:
        with transaction.atomic():
            organizations.lock_many(["org-001", "acme"])

    assert at_once([lambda: registry_file.apply(found), change_both]) == []
    assert dict(Organization.objects.values_list("pk", "name")) == {"org-001": "One", "acme": "Two"}
