"""The console's lists ask the database as often for 1,000 rows as for 10, and count no table that only grows."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from llm_gateway.models import Attempt, Call, Prompt, Refusal
from monitoring.models import Alert, Rule, Silence
from orchestrators.models import (
    Agent,
    Approval,
    ConfigVersion,
    Instance,
    Job,
    Message,
    Node,
    OverrideVersion,
    Rollout,
    Route,
    Task,
)
from orgs.models import ApiKey, AuditEntry, AuditHead, Event, Membership, Organization, User

pytestmark = [pytest.mark.once, pytest.mark.django_db]
FEW, MANY = 10, 1_000  # more than any page of the console shows
WORK = 300  # of the task queue's rows: more than a page of them tell as much
VERIFIED = 10_000  # rows of the trail that the console reads at once
GROWING = (
    "audit_log",
    "events",
    "messages",
    "system_metrics",
    "llm_calls",
    "llm_attempts",
    "llm_refusals",
    "tasks",
    "approvals",
)
Fill = Callable[[range], None]


def organizations(numbers: range) -> None:
    Organization.objects.bulk_create(Organization(organization_id=f"o-{n}", name=f"O {n}") for n in numbers)


def users(numbers: range) -> None:
    User.objects.bulk_create(User(username=f"u-{n}", password="!") for n in numbers)
    where = home()
    rows = User.objects.filter(username__in=[f"u-{n}" for n in numbers[:50]])
    Membership.objects.bulk_create(Membership(user=row, organization=where) for row in rows)


def memberships(numbers: range) -> None:
    where = home()
    rows = User.objects.bulk_create(User(username=f"m-{n}", password="!") for n in numbers)
    Membership.objects.bulk_create(Membership(user=row, organization=where) for row in rows)


def home() -> Organization:
    return Organization.objects.get_or_create(organization_id="home", defaults={"name": "Home"})[0]


def keys(numbers: range) -> None:
    where = home()
    ApiKey.objects.bulk_create(
        ApiKey(key_id=f"key_{n}", organization=where, name=f"k {n}", prefix="mk_", secret_hash=str(n), role="viewer")
        for n in numbers
    )


def entries(numbers: range) -> None:
    now = timezone.now()
    AuditHead.objects.update_or_create(organization_id="home", defaults={"sequence": numbers[-1] + 1, "hash": ""})
    AuditEntry.objects.bulk_create(
        AuditEntry(
            organization_id="home", sequence=n + 1, actor=f"a{n}", action=f"x.{n % 7}", target_type="x", target_id="1",
            created_at=now,
        )
        for n in numbers
    )  # fmt: skip


def events(numbers: range) -> None:
    now = timezone.now()
    Event.objects.bulk_create(Event(kind="orchestrator.active", orchestrator_id="o", created_at=now) for _ in numbers)


def instances(numbers: range) -> None:
    where = home()
    Instance.objects.bulk_create(
        Instance(orchestrator_id=f"i-{n}", organization=where, organization_name="Home") for n in numbers
    )


def messages(numbers: range) -> None:
    instances(range(numbers[0], numbers[0] + 1))
    instance = Instance.objects.get(orchestrator_id=f"i-{numbers[0]}")
    Message.objects.bulk_create(Message(orchestrator=instance, message_id=f"m{n}", message_type="t") for n in numbers)


def nodes(numbers: range) -> None:
    now = timezone.now()
    Node.objects.bulk_create(
        Node(node_id=f"n-{n}", hostname="h", pid=n, started_at=now, beat_at=now - timedelta(seconds=n)) for n in numbers
    )


def prompts(numbers: range) -> None:
    where, now = home(), timezone.now()
    Prompt.objects.bulk_create(
        Prompt(prompt_id=f"prm_{n}", organization=where, created_by="a", created_at=now) for n in numbers
    )


def tasks(numbers: range) -> None:
    every, _ = IntervalSchedule.objects.get_or_create(every=5, period="seconds")
    PeriodicTask.objects.bulk_create(PeriodicTask(name=f"t-{n}", task="t", interval=every) for n in numbers)


def work(numbers: range) -> None:
    now = timezone.now()
    columns = {"organization": home(), "task_type": "t", "priority": 8, "created_at": now, "run_after": now}
    Task.objects.bulk_create(Task(task_id=f"t-{n}", created_by="a", **columns) for n in numbers)


def approvals(numbers: range) -> None:
    work(numbers)
    rows = Task.objects.filter(task_id__in=[f"t-{n}" for n in numbers])
    now = timezone.now()
    Approval.objects.bulk_create(
        Approval(approval_id=row.task_id, task=row, reason="P1", created_at=now) for row in rows
    )


def agents(numbers: range) -> None:
    Agent.objects.bulk_create(Agent(organization=home(), agent_id=f"a-{n}", name="A") for n in numbers)


def routes(numbers: range) -> None:
    Route.objects.bulk_create(Route(organization=home(), task_type=f"t-{n}", agent_id="a") for n in numbers)


def jobs(numbers: range) -> None:
    now = timezone.now()
    Job.objects.bulk_create(Job(job_id=f"j-{n}", kind="x", actor="a", created_at=now) for n in numbers)


def recommendations(numbers: range) -> None:
    row = Instance.objects.get_or_create(orchestrator_id="talker", organization=home())[0]
    columns = {"message_type": "recommendation", "direction": "inbound"}
    Message.objects.bulk_create(Message(orchestrator=row, message_id=f"r-{n}", **columns) for n in numbers)


def config_versions(numbers: range) -> None:
    where, now = home(), timezone.now()
    ConfigVersion.objects.bulk_create(
        ConfigVersion(organization=where, version=n + 1, author="a", created_at=now) for n in numbers
    )


def override_versions(numbers: range) -> None:
    now = timezone.now()
    instances(numbers)
    rows = Instance.objects.filter(orchestrator_id__in=[f"i-{n}" for n in numbers])
    OverrideVersion.objects.bulk_create(
        OverrideVersion(orchestrator=row, version=1, author="a", created_at=now) for row in rows
    )


def rollouts(numbers: range) -> None:
    now = timezone.now()
    organizations(numbers)
    rows = ConfigVersion.objects.bulk_create(
        ConfigVersion(organization_id=f"o-{n}", version=1, author="a", created_at=now) for n in numbers
    )
    Rollout.objects.bulk_create(
        Rollout(organization_id=row.organization_id, target=row, stages=[{"percent": 100}], started_by="a",
                started_at=now, stage_started_at=now)
        for row in rows
    )  # fmt: skip


def alerts(numbers: range) -> None:
    now = timezone.now()
    columns = {"alert_type": "cpu", "severity": "error", "title": "Busy", "started_at": now, "last_seen_at": now}
    Alert.objects.bulk_create(
        Alert(dedup_key=f"cpu/{n}", organization_id="o-1", orchestrator_id=f"i-{n}", **columns) for n in numbers
    )


def rules(numbers: range) -> None:
    columns = {"alert_type": "cpu", "metric": "cpu_usage_percent", "threshold": 1, "severity": "info"}
    Rule.objects.bulk_create(Rule(rule_key=f"r-{n}", title="Busy", scope="orchestrator", **columns) for n in numbers)


def silences(numbers: range) -> None:
    now = timezone.now()
    Silence.objects.bulk_create(Silence(starts_at=now, ends_at=now + timedelta(days=1), reason=f"{n}") for n in numbers)


def calls(numbers: range) -> None:
    now, who = timezone.now(), {"organization_id": "home", "provider": "p-1", "model": "m"}
    Call.objects.bulk_create(
        Call(call_id=f"c-{n}", key_id=f"key_{n % 7}", requested_model="m", status="completed", started_at=now, **who)
        for n in numbers
    )
    Attempt.objects.bulk_create(Attempt(call_id=f"c-{n}", number=1, started_at=now, **who) for n in numbers[:5])


def refusals(numbers: range) -> None:
    now = timezone.now()
    Refusal.objects.bulk_create(
        Refusal(organization=home(), code=f"c-{n}", key_id=f"key_{n % 7}", minute_at=now, last_at=now) for n in numbers
    )


FRONT_PAGE = 11  # the alerts of its strip and the calls of today among them
BADGE = 2  # the open alerts and the approvals that wait, which the sidebar counts
# page → (what fills it, how many queries it makes beside BADGE: two of them are the session and its user)
LISTS: dict[str, tuple[Fill, int]] = {
    "orgs_organization": (organizations, 5),
    "orgs_user": (users, 6),
    "orgs_membership": (memberships, 5),
    "orgs_apikey": (keys, 5),
    "orgs_auditentry": (entries, 5),
    "orgs_event": (events, 3),
    "orchestrators_instance": (instances, 5),
    "orchestrators_message": (messages, 4),
    "orchestrators_configversion": (config_versions, 3),
    "orchestrators_overrideversion": (override_versions, 3),
    "orchestrators_rollout": (rollouts, 6),
    "orchestrators_job": (jobs, 4),
    "orchestrators_recommendation": (recommendations, 3),
    "orchestrators_node": (nodes, 5),
    "orchestrators_task": (work, 3),
    "orchestrators_approval": (approvals, 3),
    "orchestrators_agent": (agents, 8),  # three of them count the tasks of the agents shown
    "orchestrators_route": (routes, 5),
    "monitoring_alert": (alerts, 3),
    "monitoring_rule": (rules, 5),
    "monitoring_silence": (silences, 3),
    "llm_gateway_prompt": (prompts, 3),
    "llm_gateway_refusal": (refusals, 5),
    "llm_gateway_call": (calls, 5),  # the newest ones' mark, and the names of their keys
    "django_celery_beat_periodictask": (tasks, 5),
}


def look(console: Client, url: str) -> list[str]:
    with CaptureQueriesContext(connection) as asked:
        assert console.get(url).status_code == 200, url
    return [query["sql"] for query in asked.captured_queries]


def counts_what_grows(queries: list[str]) -> list[str]:
    counting = [sql for sql in queries if "COUNT(" in sql and any(f'"{table}"' in sql for table in GROWING)]
    return [sql for sql in counting if '"tasks"."completed_at"' not in sql]  # open ones, or the last day's: an index


@pytest.mark.parametrize("page", LISTS)
def test_a_list_asks_as_much_for_1000_rows_as_for_10(console: Client, page: str) -> None:
    fill, number = LISTS[page]
    url = reverse(f"admin:{page}_changelist")
    fill(range(FEW))
    few = look(console, url)
    fill(range(FEW, WORK if fill in (work, approvals, agents, routes) else MANY))
    many = look(console, url)
    assert len(few) == len(many) == number + BADGE, json.dumps(many, indent=1)
    assert counts_what_grows(many) == []


def test_the_front_page_asks_as_much_for_many_alerts_as_for_none(console: Client) -> None:
    none = look(console, reverse("admin:index"))
    alerts(range(MANY))
    assert len(look(console, reverse("admin:index"))) == len(none) == FRONT_PAGE + BADGE, json.dumps(none, indent=1)
    assert len(look(console, reverse("console_open_alerts"))) == 3  # the session, its user, the alerts


def test_no_filter_of_the_trail_counts_it(console: Client) -> None:
    entries(range(MANY))
    for query in (
        "organization=home", "actor=a3", "action=x.1", "target=x", "created_at_from_0=2020-01-01", "q=a3",
        "_facets=True",
    ):  # fmt: skip
        queries = look(console, f"{reverse('admin:orgs_auditentry_changelist')}?{query}")
        assert counts_what_grows(queries) == [], query
        assert len(queries) == BADGE + (7 if query.startswith("organization") else 5), query  # two name the chosen one


@pytest.mark.parametrize(
    "page",
    [
        "orgs_event",
        "orchestrators_message",
        "orchestrators_task",
        "monitoring_systemmetric",
        "llm_gateway_call",
        "llm_gateway_refusal",
    ],
)
def test_no_other_page_counts_what_grows(console: Client, page: str) -> None:
    url = reverse(f"admin:{page}_changelist")
    for query in ("", "?_facets=True", "?q=x", "?p=3"):
        assert counts_what_grows(look(console, url + query)) == [], query


def test_who_has_a_thousand_roles_is_listed_with_a_few(console: Client) -> None:
    organizations(range(MANY))
    bob = User.objects.create_user("bob")
    Membership.objects.bulk_create(Membership(user=bob, organization_id=f"o-{n}") for n in range(MANY))
    page = console.get(reverse("admin:orgs_user_changelist")).content.decode()
    assert page.count("viewer of") == 3
    assert "all roles" in page


def test_the_verification_reads_a_bounded_number_of_rows(console: Client) -> None:
    entries(range(VERIFIED + 10))
    queries = look(console, reverse("admin:orgs_auditentry_verify"))
    assert counts_what_grows(queries) == []
    assert any(f"LIMIT {VERIFIED + 1}" in sql for sql in queries)


def test_choosing_an_organization_does_not_load_them_all(console: Client) -> None:
    organizations(range(MANY))
    for page in ("orgs_user", "orgs_membership", "orgs_apikey", "orgs_auditentry", "orchestrators_instance"):
        text = console.get(reverse(f"admin:{page}_changelist")).content.decode()
        assert "o-77" not in text, page
    for page in ("orgs_user", "orgs_membership", "orgs_apikey", "orchestrators_instance"):
        text = console.get(reverse(f"admin:{page}_add")).content.decode()
        assert "o-77" not in text, page
