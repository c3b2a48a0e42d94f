"""Writers of many rows at once take their locks in one order: none of them is thrown out as a deadlock's victim."""

import random
import threading
import time
from collections.abc import Callable

import pytest
from django.db import connections
from django.utils import timezone

from orchestrators import configuration, instances, plain_http, presence
from orchestrators.configuration import Report
from orchestrators.models import Instance
from orgs import organizations

SIZE = 200


@pytest.mark.once("postgres")
@pytest.mark.django_db(transaction=True)
def test_publishing_beside_heartbeats_and_reports_fails_nobody() -> None:
    home = organizations.create("org-001", name="Acme", acting_user=None)
    for number in range(SIZE):
        instances.create(f"orch-{number}", organization=home, acting_user=None)
    Instance.objects.update(is_connected=True, is_acknowledging=True, status="active")
    keys = list(Instance.objects.values_list("pk", flat=True))
    is_over, troubles, leaving = threading.Event(), list[str](), iter(range(SIZE))

    def flush() -> None:
        presence.flush([presence.Sighting(pk, 0, timezone.now()) for pk in random.sample(keys, SIZE)])

    def report() -> None:
        rows = Instance.objects.filter(pk__in=random.sample(keys, SIZE // 2))
        configuration.store([Report(row.pk, "", home.pk, row.config_hash, "applied", "") for row in rows])

    def leave() -> None:
        number = next(leaving)
        plain_http.deregister(f"orch-{number}", acting_user=None)
        instances.delete(Instance.objects.get(orchestrator_id=f"orch-{number}"), acting_user=None)

    def repeat(work: Callable[[], None]) -> None:
        try:
            while not is_over.is_set():
                work()
                time.sleep(0.02)
        except Exception as error:
            troubles.append(f"{work.__name__}: {error}")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=repeat, args=(work,)) for work in (flush, flush, report, leave)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            configuration.publish(home, {"features": {"n": number}}, acting_user=None)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert troubles == []
