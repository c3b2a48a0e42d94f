"""Every call of the document, as every role, keeps to the document: statuses, headers, schemas, refusals.

The superadmin meets every kind of bad input; the others, who are mostly refused before it is read, a few inputs, one of
them at each door (`MOOLAI_MATRIX=whole` has them all at each).
They are the same in every run: `MOOLAI_SCHEMATHESIS_EXAMPLES=200` looks deeper (2 by default, half of it for
the others), and `MOOLAI_SCHEMATHESIS_SEED=…` elsewhere.
"""

import os
import zlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import override_settings
from django.utils import timezone
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import (
    CoveragePhaseConfig,
    GenerationConfig,
    PhasesConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.specs.openapi.checks import negative_data_rejection

from llm_gateway import aliases, prices, providers
from llm_gateway.money import ledger, records
from llm_gateway.prompts import asking, book
from llm_gateway.workflows import making as runs
from llm_gateway.workflows import templates
from llm_gateway.workflows.making import Asked
from llm_gateway.workflows.making import Wish as WorkflowWish
from monitoring.alerts import channels, rules, silences
from monitoring.exports import making
from monitoring.exports.wish import Wish
from monitoring.models import Alert
from moolai.openapi import gateway
from moolai.openapi.document import document
from orchestrators import bulk, configuration, instances, jobs, messages, work
from orchestrators.models import Message, Rollout
from orgs import keys, networks, users
from orgs.models import Organization
from orgs.tests import cast as casts
from orgs.tests.cast import Cast
from tests.matrix import stage
from tests.matrix.people import IS_WHOLE

pytestmark = [pytest.mark.once("postgres"), pytest.mark.django_db]

EXAMPLES = int(os.environ.get("MOOLAI_SCHEMATHESIS_EXAMPLES", "2"))
PATIENT = hypothesis.settings(suppress_health_check=list(hypothesis.HealthCheck), deadline=None)
SEED = os.environ.get("MOOLAI_SCHEMATHESIS_SEED", "")
OTHERS = ["alice", "vera", "machine"]  # what the others are answered is in the matrix
load_all_checks()
ANSWERS = CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
     "response_headers_conformance"]
)  # fmt: skip
REFUSALS = CHECKS.get_by_names(["missing_required_header", "unsupported_method"])


def invalid_is_refused(context: Any, response: Any, case: Any) -> Any:
    """Schemathesis's check, which knows neither of 413 nor that DRF reads 5 as "5" and "true" as true in a body."""
    if response.status_code == 413:
        return None
    try:
        return negative_data_rejection(context, response, case)
    except AcceptedNegativeData as failure:
        if "Incorrect type" in failure.message and "in body" in failure.message:
            return None
        raise


def load(*, has_every_kind: bool) -> Any:
    """Return the document for Schemathesis, asked of the application in this process."""
    generation = GenerationConfig(
        modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE],
        max_examples=EXAMPLES if has_every_kind else (EXAMPLES + 1) // 2,
        deterministic=not SEED,
        with_security_parameters=False,
        database="none",
        no_shrink=not SEED,
    )
    # `test_matrix.py` tries every method that Django serves.
    phases = PhasesConfig(coverage=CoveragePhaseConfig(enabled=has_every_kind, unexpected_methods={"TRACE"}))
    project = ProjectConfig(generation=generation, phases=phases)
    config = SchemathesisConfig(seed=int(SEED) if SEED else None, projects=ProjectsConfig(default=project))
    loaded: Any = schemathesis.openapi.from_dict(document(), config=config)
    for path in gateway.PATHS:  # served beside Django, which is asked here: llm_gateway/tests
        loaded = loaded.exclude(path=path)
    loaded.app = get_wsgi_application()
    return loaded


thorough, brief = load(has_every_kind=True), load(has_every_kind=False)


@pytest.fixture(autouse=True)
def one_transaction() -> Iterator[None]:
    """Keep the connection over requests, as Django's own test client does: the test's transaction is on it."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture(scope="module")
def ground(django_db_setup: None, django_db_blocker: Any) -> Iterator[tuple[Cast, dict[str, Any]]]:
    """Everybody and what is there, made once: what a test does to them is undone with its transaction."""
    with django_db_blocker.unblock(), override_settings(), stage.undone():
        yield casts.make(settings), made()


@pytest.fixture
def cast(ground: tuple[Cast, dict[str, Any]]) -> Cast:
    return ground[0]


@pytest.fixture
def known(ground: tuple[Cast, dict[str, Any]]) -> dict[str, Any]:
    return ground[1]


def made() -> dict[str, Any]:
    """Make one thing of each kind; return their identifiers under the names they have in paths."""
    ours = Organization.objects.get(pk="org-001")
    instances.create("orch-001", organization=ours, name="One", acting_user=None, features={"beta": True})
    message = messages.queue("orch-001", message_type="greet", content={}, acting_user=None)
    key, _ = keys.create(ours, name="old", acting_user=None, role="viewer")
    person = users.create(ours, acting_user=None, username="una", email="una@example.com", role="viewer")
    rollout, job, suggestion = more(ours)
    price = prices.create(ours, acting_user=None, model="gpt-4o", input_usd_per_million=1, output_usd_per_million=2)
    return {
        "organization_id": "org-001",
        "org": "org-001",
        "kind": "cpu",
        "versions": 1,
        "rollouts": rollout,
        "jobs": job,
        "recommendations": suggestion,
        "channels": channel(ours),
        **plane(ours),
        "allowed-networks": networks.allow(ours, "10.3.0.0/16", acting_user=None).pk,
        "export": export(ours),
        "organizations": "org-001",
        "orchestrators": "orch-001",
        "messages": message.pk,
        "api-keys": key.key_id,
        "users": person.user_id,
        "prices": price.price_id,
        "calls": call(),
        **alerts(),
        **tasks(ours),
        "prompts": prompt(ours),
        **flow(ours),
    }


def call() -> str:
    """Leave a call in the ledger."""
    at = timezone.now().timestamp()
    begin = records.Begin(call_id="call-1", organization_id="org-001", requested_model="gpt-4o", at=at)
    ledger.write([begin, records.End(call_id="call-1", at=at, status="completed")], holder="p-1")
    return "call-1"


def alerts() -> dict[str, Any]:
    """Make an alert, a rule and a silence."""
    now, end = timezone.now(), timezone.now() + timedelta(days=1)
    names = {"organization_id": "org-001", "alert_type": "cpu", "severity": "error", "title": "Busy"}
    alert = Alert.objects.create(dedup_key="cpu/org-001", started_at=now, last_seen_at=now, **names)
    rule = rules.create("cpu.warning", organization_id="org-001", threshold=60, acting_user=None)
    silence = silences.create(kind="silence", organization_id="org-001", ends_at=end, acting_user=None)
    return {"alerts": alert.alert_id, "alert-rules": rule.pk, "silences": silence.silence_id}


def tasks(ours: Organization) -> dict[str, str]:
    """Make a task that waits for approval, and its agent, under the names of their paths."""
    task = work.create(ours, task_type="bugfix", payload={}, priority="P1", acting_user=None)
    return {"tasks": task.task_id, "approvals": str(task.approval_id), "agents": task.assigned_agent}


def prompt(ours: Organization) -> str:
    """Leave a prompt that waits for its stream."""
    asked = asking.document(ours, {"prompt": "Why?", "model": "echo/echo"})
    return book.create(ours, asked=asked, how=book.Asking("somebody", is_stream=True)).prompt_id


def flow(ours: Organization) -> dict[str, str]:
    """Make a template, and queue a run of another type."""
    template = templates.create(ours, name="vectors", steps=[{"type": "embedding"}], acting_user=None)
    wish = WorkflowWish("classification", {"text": "It crashes."})
    run = runs.create(ours, wish, asked=Asked("token", "root"))
    return {"workflow-templates": template.template_id, "workflows": run.workflow_id}


def more(ours: Organization) -> tuple[int, str, int]:
    """Make a version of the configuration with its rollout, a bulk action and a recommendation; return their ids."""
    configuration.publish(ours, {"features": {"beta": True}}, acting_user=None)
    job = bulk.start(
        "message",
        selector={"organization_id": ours.pk},
        parameters={"message_type": "greet"},
        acting_user=None,
        organization_id=ours.pk,
    )
    suggestion = Message.objects.create(
        orchestrator_id="orch-001",
        message_id="r1",
        direction=Message.Direction.INBOUND,
        message_type="recommendation",
        message_content={"text": "cache more"},
        status=Message.Status.DELIVERED,
    )
    return Rollout.objects.latest("id").pk, job.job_id, suggestion.pk


def export(ours: Organization) -> str:
    """Have a file made; return its job."""
    span = {"start": "2026-11-20", "end": "2026-11-21"}
    wish = Wish.parse({"export_type": "csv", "metrics": ["cpu_usage_percent"], "time_range": span})
    job = making.start(wish, organization_id=ours.pk, acting_user=None)
    claimed = jobs.claim(job.job_id)
    assert claimed is not None
    assert jobs.run(claimed).status == "completed"
    return job.job_id


def channel(ours: Organization) -> str:
    """Make a channel whose network is not allowed any more: nothing is called."""
    allowed = networks.allow(ours, "10.2.0.0/16", acting_user=None)
    row, _ = channels.create(ours, kind="webhook", name="hook", url="https://10.2.0.1/", acting_user=None)
    networks.refuse(allowed, acting_user=None)
    return row.channel_id


def plane(ours: Organization) -> dict[str, str]:
    """Make a provider that answers by itself and an alias; of those of all organizations there are none."""
    row = providers.create(ours, name="self", dialect="echo", known_models=["echo"], acting_user=None)
    alias = aliases.create(ours, alias="fast", targets=[{"model": "echo"}], acting_user=None)
    return {"providers": row.provider_id, "aliases": alias.alias_id}


@thorough.parametrize()
@PATIENT
def test_every_call_of_a_superadmin_keeps_to_the_document(case: Any, cast: Cast, known: dict[str, Any]) -> None:
    check(case, cast.root.headers, known)


@brief.parametrize()
@PATIENT
def test_every_call_keeps_to_the_document(case: Any, cast: Cast, known: dict[str, Any]) -> None:
    turn = zlib.crc32(case.operation.label.encode()) % len(OTHERS)
    for role in OTHERS if IS_WHOLE else OTHERS[turn : turn + 1]:
        check(case, getattr(cast, role).headers, known)


def check(case: Any, headers: dict[str, str], known: dict[str, Any]) -> None:
    """Make the call as it is, and once more for things that are there."""
    case.call_and_validate(headers=headers, checks=[*ANSWERS, *REFUSALS, invalid_is_refused])
    if case.path_parameters:
        case.path_parameters = {name: there(case.path, name, known) for name in case.path_parameters}
        case.call_and_validate(headers=headers, checks=ANSWERS)


def there(path: str, name: str, known: dict[str, Any]) -> Any:
    """Return the identifier of something that is there, by the word before it in the path."""
    return known[name if name in known else path.partition(f"/{{{name}}}")[0].rpartition("/")[2]]
