"""Policies and the list of calls: set, shown, refused; content is for administrators, as long as it is kept."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from llm_gateway import retention
from llm_gateway.models import CallContent, GatewayPolicy
from llm_gateway.money import ledger, records
from llm_gateway.plane import catalog
from llm_gateway.plane.catalog import Policy
from llm_gateway.watching import contents
from llm_gateway.watching.contents import Heard
from orchestrators import retention as pruning
from orgs import retention as orgs_retention
from orgs.models import AuditEntry, Organization, User
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
OWN = "/api/v1/orchestrators/org-001"
POLICY, CALLS = f"{OWN}/llm-policy", f"{OWN}/llm/calls"
SENTINEL = "what-nobody-else-shall-read"


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


def data(answer: Any, *, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)["data"]


def called(call_id: str, *, provider: str = "openai", status: str = "completed", age_days: int = 0) -> None:
    """Leave a call with two attempts in the ledger, and its content where that is kept."""
    moment = timezone.now() - timedelta(days=age_days)
    at = moment.timestamp()
    begin = records.Begin(call_id=call_id, organization_id="org-001", requested_model="smart", at=at, surface="chat")
    tries = [
        records.Attempt(
            call_id=call_id,
            number=number,
            provider=provider,
            model="m",
            at=at,
            http_status=code,
            provider_request_id=f"req-{number}",
        )
        for number, code in ((1, 500), (2, 200))
    ]
    end = records.End(call_id=call_id, at=at, status=status, provider=provider, model="m", cost_usd_micros=1_500_001)
    ledger.write([begin, *tries, end], holder="p-1")
    heard = Heard(call_id, "org-001", {"messages": [SENTINEL]}, 10, is_stream=False, kept_at=moment)
    heard.take(SENTINEL.upper().encode())
    contents.write([heard])


def put(people: Cast, **body: Any) -> Any:
    return data(people.alice.call("PUT", POLICY, body))


def test_nothing_is_kept_unless_somebody_says_so(people: Cast) -> None:
    shown = data(people.vera.get(POLICY))
    assert shown == {
        "organization_id": "org-001", "is_private": False, "keeps_content": False, "content_days": None,
        "is_kept": False, "kept_days": 30, "updated_at": None,
    }  # fmt: skip
    called("c-1")
    assert CallContent.objects.count() == 0
    assert catalog.read().policy("org-001") == Policy()


def test_a_policy_is_replaced_audited_and_reaches_the_catalog(people: Cast) -> None:
    before = catalog.fingerprint()
    assert put(people, keeps_content=True, content_days=7)["kept_days"] == 7
    assert catalog.fingerprint() != before
    assert catalog.read().policy("org-001") == Policy(keeps_content=True)
    assert put(people, is_private=True, keeps_content=True)["is_kept"] is False
    assert catalog.read().policy("org-001") == Policy(is_private=True)
    found = AuditEntry.objects.filter(action="llm_policy.set", organization_id="org-001").order_by("pk")
    assert [row.after for row in found] == [
        {"is_private": False, "keeps_content": True, "content_days": 7},
        {"is_private": True, "keeps_content": True, "content_days": None},
    ]
    assert found[1].before == found[0].after
    assert put(people) == data(people.vera.get(POLICY))
    for body in ({"content_days": 0}, {"content_days": 4000}, {"is_private": "perhaps"}, {"days": 1}):
        assert people.alice.call("PUT", POLICY, body).status_code == 400
    assert people.vera.call("PUT", POLICY, {}).status_code == 403
    assert people.charlie.call("PUT", POLICY, {}).status_code == 404


def test_content_is_kept_sealed_and_read_by_administrators_only(people: Cast) -> None:
    put(people, keeps_content=True)
    called("c-1")
    row = CallContent.objects.get()
    assert SENTINEL not in f"{row.request}{row.answer}".lower()
    for person, reason in ((people.alice, ""), (people.root, ""), (people.vera, "admins_only")):
        shown = data(person.get(f"{CALLS}/c-1"))
        assert shown["has_content"] is True
        assert [(one["http_status"], one["provider_request_id"]) for one in shown["tries"]] == [
            (500, "req-1"),
            (200, "req-2"),
        ]
        assert (shown["cost_usd"], shown["attempts"]) == (1.500001, 2)
        assert (shown["content"] is None, shown["content_reason"]) == (bool(reason), reason)
    told = data(people.alice.get(f"{CALLS}/c-1"))["content"]
    assert (json.loads(told["request"]), told["answer"]) == ({"messages": [SENTINEL]}, SENTINEL.upper())
    assert SENTINEL not in people.alice.get(CALLS).content.decode().lower()
    assert people.charlie.get(f"{CALLS}/c-1").status_code == 404
    assert people.alice.get(f"{CALLS}/c-2").status_code == 404


def test_content_that_no_key_opens_is_none_with_its_reason(people: Cast, client: Client) -> None:
    put(people, keeps_content=True)
    called("c-1")
    row = CallContent.objects.get()
    CallContent.objects.update(answer=row.request)  # sealed for another column, as if by another key
    shown = data(people.alice.get(f"{CALLS}/c-1"))
    assert (shown["has_content"], shown["content"], shown["content_reason"]) == (True, None, "unreadable")
    client.force_login(User.objects.create_superuser("una"))
    page = client.get(reverse("admin:llm_gateway_call_change", args=["c-1"])).content.decode()
    assert "it was sealed with another ENCRYPTION_KEY" in page
    CallContent.objects.all().delete()
    shown = data(people.alice.get(f"{CALLS}/c-1"))
    assert (shown["has_content"], shown["content"], shown["content_reason"]) == (False, None, "not_kept")


def test_calls_are_listed_newest_first_and_filtered(people: Cast) -> None:
    called("c-old", provider="anthropic", age_days=2)
    called("c-new", status="failed")
    since = (timezone.now() - timedelta(days=1)).isoformat()
    for query, wanted in (
        ("", ["c-new", "c-old"]), ("?status=failed", ["c-new"]), ("?provider=anthropic", ["c-old"]),
        (f"?since={since.replace('+', '%2B')}", ["c-new"]), (f"?until={since.replace('+', '%2B')}", ["c-old"]),
        ("?surface=chat&model=m&page_size=1", ["c-new"]), ("?model=openai/m", ["c-new"]), ("?model=smart/m", []),
        ("?model=smart", ["c-new", "c-old"]), ("?api_key=key_1", []),
    ):  # fmt: skip
        found = data(people.vera.get(CALLS + query))
        assert [row["call_id"] for row in found["items"]] == wanted, query
    assert people.vera.get(f"{CALLS}?status=odd").status_code == 400


def test_one_call_takes_as_many_queries_however_often_it_was_tried(people: Cast) -> None:
    put(people, keeps_content=True)
    counts = []
    for call_id, extra in (("c-1", 0), ("c-2", 5)):
        called(call_id)
        at = timezone.now().timestamp()
        more = [
            records.Attempt(call_id=call_id, number=number + 3, provider="p", model="m", at=at)
            for number in range(extra)
        ]
        ledger.write(more, holder="p-1")
        with CaptureQueriesContext(connection) as captured:
            data(people.alice.get(f"{CALLS}/{call_id}"))
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 7


def test_content_goes_after_the_shorter_time_and_at_once_when_private(people: Cast, settings: Any) -> None:
    settings.LLM_CONTENT_RETENTION_DAYS = 10
    put(people, keeps_content=True, content_days=30)
    for age in (0, 4, 11):
        called(f"c-{age}", age_days=age)
    assert CallContent.objects.count() == 3
    assert pruning.prune(now=timezone.now())["llm_contents"] == 1
    assert put(people, keeps_content=True, content_days=3)["kept_days"] == 3
    assert pruning.prune(now=timezone.now())["llm_contents"] == 1
    assert [row.pk for row in CallContent.objects.all()] == ["c-0"]
    put(people, keeps_content=True, is_private=True)
    assert CallContent.objects.count() == 0
    assert (AuditEntry.objects.order_by("-pk")[0].after or {})["contents_deleted"] == 1
    called("c-late")  # heard before the policy was set, written after
    assert CallContent.objects.count() == 0
    assert data(people.alice.get(f"{CALLS}/c-late"))["has_content"] is False


@pytest.mark.once("postgres")
def test_contents_that_stay_are_not_looked_at(people: Cast, settings: Any) -> None:
    """Of 20,000 rows hardly any goes: each rule reads along its index, and none is in two of them."""
    settings.LLM_CONTENT_RETENTION_DAYS = 30
    put(people, keeps_content=True, content_days=7)
    GatewayPolicy.objects.create(organization_id="org-002", is_private=True)
    other = Organization.objects.create(organization_id="org-003", name="Third")
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO llm_call_contents
            SELECT 'c-' || n, '', '', false, false, %s - n * interval '1 minute', %s FROM generate_series(1, 20000) n
            UNION ALL SELECT 'o-' || d, '', '', false, false, %s - d * interval '1 day', 'org-001'
            FROM generate_series(1, 40) d UNION ALL SELECT 'p-1', '', '', false, false, %s, 'org-002'""",
            [now, other.pk, now, now],
        )
        cursor.execute("ANALYZE llm_call_contents")
    found = [rule for rule in retention.rules(now=now) if rule.name == "llm_contents"]
    plans = [rule.rows.order_by(rule.order).values_list("pk")[:1000].explain() for rule in found]
    for plan, column in zip(plans, ("kept_at", "organization_id", "organization_id"), strict=True):
        assert "Seq Scan" not in plan
        assert re.search(rf"Index Cond: \(+{column}", plan), plan
    assert orgs_retention.count(found) == {"llm_contents": 1 + 33}
    assert pruning.prune(now=now)["llm_contents"] == 34
    assert CallContent.objects.exclude(organization=other).count() == 7


def test_content_goes_with_its_organization(people: Cast) -> None:
    put(people, keeps_content=True)
    called("c-1")
    Organization.objects.get(pk="org-001").delete()
    assert (CallContent.objects.count(), GatewayPolicy.objects.count()) == (0, 0)


def test_the_console_sets_privacy_and_shows_what_was_kept(people: Cast, client: Client) -> None:
    client.force_login(User.objects.create_superuser("una"))
    changes, page = reverse("admin:llm_gateway_gatewaypolicy_changelist"), "admin:llm_gateway_gatewaypolicy"
    body = {"organization": "org-001", "keeps_content": "on", "content_days": "7"}
    assert client.post(reverse(f"{page}_add"), body).status_code == 302
    called("c-1")
    shown = client.get(reverse("admin:llm_gateway_call_change", args=["c-1"])).content.decode()
    assert SENTINEL in shown
    assert SENTINEL.upper() in shown
    assert "<code>req-1</code>" in shown
    assert "<code>req-2</code>" in shown
    assert "7 days" in client.get(changes).content.decode()
    assert client.post(reverse(f"{page}_change", args=["org-001"]), {"is_private": "on"}).status_code == 302
    assert "Private" in client.get(changes).content.decode()
    assert CallContent.objects.count() == 0
    assert SENTINEL not in client.get(reverse("admin:llm_gateway_call_change", args=["c-1"])).content.decode()
    assert client.post(reverse(f"{page}_delete", args=["org-001"]), {"post": "yes"}).status_code == 302
    assert GatewayPolicy.objects.count() == 0
    assert AuditEntry.objects.order_by("-pk")[0].action == "llm_policy.delete"
