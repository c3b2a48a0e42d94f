"""Lists leave whole documents in the database: what a page does not show is not read for each of its rows."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrators import bulk, configuration, instances
from orchestrators.messages import inbox
from orchestrators.messages.inbox import Inbound
from orchestrators.models import Instance, OverrideVersion, Review
from orgs.models import Organization, User
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = [pytest.mark.once, pytest.mark.django_db]
OWN = "/api/v1/orchestrators/org-001"
FLEET = "/api/v1/controller/orchestrators"
SETTINGS = {"organizations": {"settings"}}
OF_VERSIONS = {"config_versions": {"document"}}
OF_FLEET = {"orchestrator_instances": {"features", "session_config", "environment_variables", "health_status"}}
BOTH = {"config_versions": {"document", "changes"}, **SETTINGS}

# path → the columns that are left alone, by table
OVER_HTTP: dict[str, dict[str, set[str]]] = {
    FLEET: SETTINGS,
    f"{FLEET}/live": {**SETTINGS, **OF_FLEET},
    f"{FLEET}/orch-001/config/versions": {"override_versions": {"document"}},
    f"{OWN}/config/versions": OF_VERSIONS,
    f"{OWN}/config/rollouts": {"config_versions": {"document", "changes"}},
    f"{OWN}/recommendations": {**SETTINGS, **OF_FLEET},
    "/api/v1/internal/jobs": {"jobs": {"targets"}},
}
IN_THE_CONSOLE: dict[str, dict[str, set[str]]] = {
    "orchestrators/instance": {**SETTINGS, "orchestrator_instances": OF_FLEET["orchestrator_instances"] | {"metadata"}},
    "orchestrators/configversion": {**OF_VERSIONS, **SETTINGS},
    "orchestrators/overrideversion": {"override_versions": {"document"}, **SETTINGS, **OF_FLEET},
    "orchestrators/rollout": BOTH,
    "orchestrators/recommendation": {**SETTINGS, **OF_FLEET},
    "orgs/organization": SETTINGS,
    "orchestrators/job": {"jobs": {"targets"}},
}


@pytest.fixture
def people(settings: Any) -> Cast:
    """The cast, and a row of everything that is listed."""
    found = cast.make(settings)
    home = Organization.objects.get(pk="org-001")
    instances.create("orch-001", organization=home, acting_user=None, features={"a": 1})
    Instance.objects.update(is_connected=True)
    configuration.publish(home, {"llm": {"model": "m"}}, acting_user=None)
    inbox.store([Inbound("orch-001", "org-001", "r1", "recommendation", {"text": "rest"}, "r1", 1)])
    inbox.store([Inbound("orch-001", "org-001", "r2", "recommendation", {"text": "rest"}, "r2", 1)])
    row = Instance.objects.get().messages.latest("id")
    Review.objects.create(message=row, status="read", actor="ann", reviewed_at=timezone.now())
    bulk.start("message", selector={"all": True}, parameters={"message_type": "greet"}, acting_user=None)
    assert OverrideVersion.objects.exists()
    return found


def columns_read(queries: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return (table, column) of all that stands between SELECT and FROM as a column, not inside a function."""
    found: set[tuple[str, str]] = set()
    for query in queries:
        head = query["sql"].partition(" FROM ")[0]
        found |= set(re.findall(r'(?<!\()"(\w+)"\."(\w+)"', head))
    return found


def forbidden(wanted: dict[str, set[str]]) -> set[tuple[str, str]]:
    return {(table, column) for table, columns in wanted.items() for column in columns}


@pytest.mark.parametrize("path", OVER_HTTP)
def test_a_list_over_http_reads_no_document(people: Cast, path: str) -> None:
    with CaptureQueriesContext(connection) as log:
        answer = people.root.get(f"{path}?page_size=1000")
    assert answer.status_code == 200
    assert answer.json()["data"]["items"], "nothing was listed"
    queries = log.captured_queries
    first = next(number for number, query in enumerate(queries) if "LIMIT 1000" in query["sql"])
    assert columns_read(queries[first:]) & forbidden(OVER_HTTP[path]) == set()


@pytest.mark.parametrize("name", IN_THE_CONSOLE)
def test_a_list_in_the_console_reads_no_document(people: Cast, name: str, client: Client) -> None:
    client.force_login(User.objects.create_superuser("boss"), "django.contrib.auth.backends.ModelBackend")
    with CaptureQueriesContext(connection) as log:
        answer = client.get(f"/admin/{name}/")
    assert len(answer.context["cl"].result_list) > 0
    assert columns_read(log.captured_queries) & forbidden(IN_THE_CONSOLE[name]) == set()
