"""The doors of the task queue, as existing clients call them (API §6, §7)."""

import json
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from orchestrators import work
from orchestrators.models import Approval, Instance, Route, Task
from orchestrators.work import approvals_api, counts
from orgs import external, keys, rates
from orgs.models import AuditEntry, Event, Organization
from orgs.tests.cast import Cast, Person, make

OWN = "/api/v1/orchestrators/org-001"
BUG = {"type": "bugfix", "payload": {"issue": 7}, "priority": "P2"}


@pytest.fixture
def cast(db: None, settings: Any) -> Cast:
    settings.REDIS_URL = ""
    rates._memory.windows.clear()
    counts.forget()
    return make(settings)


def created(person: Person, **more: Any) -> Any:
    answer = person.call("POST", "/tasks", BUG | more)
    assert answer.status_code == 200, answer.content
    return answer.json()


def token(role: str, **claims: Any) -> Person:
    text, _ = external.issue(
        "ann", role=role, organization_id="org-001", now=timezone.now(), acting_user=None, **claims
    )
    return Person({"Authorization": f"Bearer {text}"})


# --- the flat paths --------------------------------------------------------------------------------------------------


def test_a_client_creates_takes_and_completes_a_task(cast: Cast) -> None:
    client = token("agent")
    told = created(client, source="ci", metadata={"pr": 12}, sla_target="4h")
    assert {name: told[name] for name in ("success", "message")} == {
        "success": True,
        "message": "Task created and assigned to dev_agent",
    }
    task_id, task = told["task_id"], told["task"]
    assert task == client.get(f"/tasks/{task_id}").json()["task"]
    assert (task["type"], task["status"], task["priority"], task["source"]) == ("bugfix", "assigned", "P2", "ci")
    assert (task["payload"], task["metadata"], task["organization_id"]) == ({"issue": 7}, {"pr": 12}, "org-001")
    assert task["created_at"].endswith("Z")
    assert task["sla_target"].endswith("Z")
    for status in ("in_progress", "in_progress", "completed"):
        answer = client.call("PATCH", f"/tasks/{task_id}/status?status={status}")
        assert answer.json() == {"success": True, "task_id": task_id, "status": status}
    late = client.call("PATCH", f"/tasks/{task_id}/status?status=failed&error=late")
    assert (late.status_code, late.json()["error"], late.json()["success"]) == (409, "conflict", False)
    assert client.get(f"/tasks/{task_id}").json()["task"]["progress"] == 100
    other = created(client)["task_id"]
    assert client.call("PATCH", f"/tasks/{other}/status?status=in_progress").status_code == 200
    settle = f"/tasks/{other}/status?status=completed"
    assert [person.call("PATCH", settle).status_code for person in (cast.oscar, cast.alice)] == [409, 200]


def test_a_task_that_failed_says_why(cast: Cast) -> None:
    task_id = created(cast.oscar)["task_id"]
    assert cast.oscar.call("PATCH", f"/tasks/{task_id}/status?status=failed&error=no+tests").status_code == 200
    task = cast.oscar.get(f"/tasks/{task_id}/").json()["task"]
    assert (task["status"], task["error"]) == ("failed", "no tests")


def test_a_p1_task_waits_in_the_inbox_until_somebody_decides(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    told = created(cast.oscar, type="deployment", priority="P1")
    assert told["message"] == "Task created and assigned to ops_agent"
    assert told["task"]["status"] == "pending_approval"
    created(cast.oscar, priority="P0")
    inbox = cast.vera.get("/approvals/pending").json()
    assert (inbox["success"], inbox["count"]) == (True, 2)
    assert [row["priority"] for row in inbox["approvals"]] == ["P0", "P1"]
    with monkeypatch.context() as patch:
        patch.setattr(approvals_api, "PENDING_AT_ONCE", 1)
        first = cast.vera.get("/approvals/pending").json()
    assert (first["count"], first["approvals"]) == (2, inbox["approvals"][:1])  # all that wait are counted
    row = inbox["approvals"][1]
    assert (row["task_id"], row["status"], row["reason"]) == (told["task_id"], "pending", "P1 tasks wait for approval")
    approval_id = row["approval_id"]
    assert cast.vera.get(f"/approvals/{approval_id}").json() == {"success": True, "approval": row}
    early = cast.oscar.call("PATCH", f"/tasks/{told['task_id']}/status?status=completed")
    assert (early.status_code, early.json()["detail"].rpartition(": ")[2]) == (409, "approve it first.")

    done = cast.oscar.call("POST", f"/approvals/{approval_id}/approve").json()
    assert (done["success"], done["status"], done["task_id"]) == (True, "approved", told["task_id"])
    assert cast.oscar.call("POST", f"/approvals/{approval_id}/reject?reason=no").status_code == 409
    assert cast.oscar.get(f"/tasks/{told['task_id']}").json()["task"]["status"] == "assigned"
    history = cast.vera.get("/approvals/history?limit=5").json()
    assert [entry["approval_id"] for entry in history["history"]] == [approval_id]
    assert history["count"] == 1
    assert history["history"][0]["decided_by"].endswith("(operator)")


def test_a_rejected_task_is_cancelled_with_the_reason(cast: Cast) -> None:
    told = created(cast.oscar, priority="P0")
    approval_id = told["task"]["approval_id"]
    assert cast.alice.call("POST", f"/approvals/{approval_id}/reject?reason=too+risky").json()["status"] == "rejected"
    task = cast.alice.get(f"/tasks/{told['task_id']}").json()["task"]
    assert (task["status"], task["error"]) == ("cancelled", "rejected: too risky")
    assert AuditEntry.objects.get(action="approval.reject").reason == "too risky"


def test_ones_own_task_is_approved_by_another_where_the_organization_says_so(cast: Cast) -> None:
    Organization.objects.filter(pk="org-001").update(settings={"approvals": {"forbid_own": True}})
    path = f"/approvals/{created(cast.oscar, priority='P1')['task']['approval_id']}/approve"
    assert cast.oscar.call("POST", path).status_code == 403
    assert Approval.objects.get().status == "pending"
    assert cast.alice.call("POST", path).status_code == 200


def test_a_superadmin_acts_in_the_organization_named_else_in_the_default_one(cast: Cast, settings: Any) -> None:
    assert created(cast.root)["task"]["organization_id"] == "org-001"
    assert created(cast.root, organization_id="org-002", priority="P1")["task"]["organization_id"] == "org-002"
    answer = cast.root.call("POST", "/tasks?organization_id=org-002", BUG)
    assert answer.json()["task"]["organization_id"] == "org-002"
    assert cast.root.get("/approvals/pending").json()["count"] == 0
    assert cast.root.get("/approvals/pending?organization_id=org-002").json()["count"] == 1
    assert cast.root.call("POST", "/tasks", BUG | {"organization_id": "nowhere"}).status_code == 404
    one, two = (created(cast.root, organization_id="org-002", priority="P1")["task"] for _ in range(2))
    for method, path in (
        ("GET", f"/tasks/{one['task_id']}?"), ("GET", f"/approvals/{one['approval_id']}?"),
        ("POST", f"/approvals/{one['approval_id']}/approve?"),
        ("POST", f"/approvals/{two['approval_id']}/reject?reason=no&"),
        ("PATCH", f"/tasks/{one['task_id']}/status?status=in_progress&"),
    ):  # fmt: skip
        found = [
            cast.root.call(method, f"{path}organization_id={home}").status_code
            for home in ("org-001", "nowhere", "org-002")
        ]
        assert found == [404, 404, 200], path
    assert cast.oscar.get(f"/tasks/{one['task_id']}?organization_id=org-001").status_code == 404
    answer = cast.root.call("POST", "/auth/token?organization_id=org-002", {"user_id": "ann", "role": "agent"})
    theirs = Person({"Authorization": f"Bearer {answer.json()['access_token']}"})
    assert created(theirs)["task"]["organization_id"] == "org-002"
    settings.DEFAULT_ORGANIZATION_ID = "not-made"
    answer = cast.root.call("POST", "/tasks", BUG)
    assert answer.status_code == 404
    assert (
        "There is no organization “not-made”. Make it (POST /api/v1/controller/organizations" in answer.json()["detail"]
    )


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [({"priority": "P9"}, "invalid_field", "P0, P1, P2, P3"), ({"priority": 3}, "invalid_field", "P0, P1, P2, P3"),
     ({"payload": []}, "invalid_field", "payload must be a JSON object."), ({"type": ""}, "invalid_field", "blank"),
     ({"metadata": 7}, "invalid_field", "metadata must be a JSON object."),
     ({"sla_target": "soon"}, "invalid_field", ""), ({"sla_target": -1}, "invalid_field", ""),
     ({"task_id": "mine"}, "unknown_field", "unknown")],
)  # fmt: skip
def test_a_body_that_is_wrong_makes_nothing(cast: Cast, change: dict[str, Any], code: str, text: str) -> None:
    answer = cast.oscar.call("POST", "/tasks", BUG | change)
    assert (answer.status_code, answer.json()["error"]) == (400, code)
    assert answer.json()["detail"]
    assert text in answer.json()["fields"][next(iter(change))]
    assert not Task.objects.exists()


@pytest.mark.parametrize("query", ["", "?status=assigned", "?status=dead", "?state=completed"])
def test_a_status_that_is_none_is_refused(cast: Cast, query: str) -> None:
    task_id = created(cast.oscar)["task_id"]
    answer = cast.oscar.call("PATCH", f"/tasks/{task_id}/status{query}")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_parameter")


def test_a_repeated_creation_with_its_key_makes_one_task(cast: Cast) -> None:
    answers = [cast.oscar.call("POST", "/tasks", BUG, **{"Idempotency-Key": "once"}) for _ in range(2)]
    assert answers[0].json()["task_id"] == answers[1].json()["task_id"]
    assert Task.objects.count() == 1


def test_an_orchestrators_key_settles_what_it_took_and_sees_nothing_else(cast: Cast) -> None:
    ours = Organization.objects.get(pk="org-001")
    Instance.objects.create(orchestrator_id="orch-1", organization=ours)
    _, secret = keys.create(ours, name="one", acting_user=None, scopes=["orchestrator"], orchestrator_id="orch-1")
    machine = Person({"Authorization": f"Bearer {secret}"})
    own, other = created(cast.oscar)["task_id"], created(cast.oscar)["task_id"]
    work.take(work.Holder("orch-1", organization_id="org-001", orchestrator_id="orch-1"), now=timezone.now())
    assert [machine.get(f"/tasks/{task_id}").status_code for task_id in (own, other)] == [200, 403]
    assert [row["task_id"] for row in machine.get(f"{OWN}/tasks").json()["data"]["items"]] == [own]
    assert machine.call("PATCH", f"/tasks/{own}/status?status=completed").status_code == 200
    assert machine.call("PATCH", f"/tasks/{other}/status?status=completed").status_code == 403


def test_a_published_event_is_stored_and_stands_in_its_tasks_timeline(cast: Cast) -> None:
    task_id = created(cast.oscar)["task_id"]
    body = {
        "event_type": "tests_green",
        "source_agent": "ci",
        "payload": {"n": 3},
        "task_id": task_id,
        "priority": "P2",
    }
    answer = cast.oscar.call("POST", "/events/publish", body)
    assert answer.json() == {"success": True, "event_type": "tests_green", "message": "Event published"}
    assert Event.objects.get(kind="event.published").data == body
    step = Task.objects.get().steps.last()
    assert step is not None
    assert (step.kind, step.actor, step.note) == ("event", "ci", "tests_green")
    foreign = created(cast.root, organization_id="org-002")["task_id"]
    assert cast.oscar.call("POST", "/events/publish", body | {"task_id": foreign}).status_code == 404


def test_the_public_numbers_are_everybodys(cast: Cast) -> None:
    for priority in ("P0", "P2", "P2"):
        created(cast.oscar, priority=priority)
    task_id = created(cast.root, organization_id="org-002")["task_id"]
    cast.charlie.call("PATCH", f"/tasks/{task_id}/status?status=in_progress")
    numbers = {"pending_tasks": 3, "processing_tasks": 1, "total_tasks": 4}
    stats = cast.nobody.get("/stats").json()
    assert (stats["queue"], set(stats)) == (numbers, {"queue", "timestamp"})
    health = cast.nobody.get("/health")
    assert b'"status": "healthy"' in health.content
    assert json.loads(health.content) == {"status": "healthy", "redis": "embedded", "queue_stats": numbers}


def deciding(cast: Cast, verdict: str, query: str = "", body: Any = None, raw: bytes | None = None) -> Any:
    """Ask for a decision about a new task; return the status, the reason that was kept, and the answer."""
    rates._memory.windows.clear()
    approval_id = created(cast.oscar, priority="P1")["task"]["approval_id"]
    path = f"/approvals/{approval_id}/{verdict}{query}"
    if raw is not None:
        answer = Client().post(path, data=raw, content_type="application/json", headers=cast.oscar.headers)
    else:
        answer = cast.oscar.call("POST", path, body) if body is not None else cast.oscar.call("POST", path)
    return answer.status_code, Approval.objects.get(approval_id=approval_id).decision_reason, answer.json()


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_why_is_taken_from_the_body_and_a_body_that_is_wrong_decides_nothing(cast: Cast, verdict: str) -> None:
    assert deciding(cast, verdict)[:2] == (200, "")
    assert deciding(cast, verdict, "?reason=why")[:2] == (200, "why")
    assert deciding(cast, verdict, body={"reason": "because"})[:2] == (200, "because")
    assert deciding(cast, verdict, "?reason=why", {"reason": "why"})[:2] == (200, "why")
    assert deciding(cast, verdict, "?reason=why", {})[:2] == (200, "why")
    status, kept, told = deciding(cast, verdict, "?reason=why", {"reason": "because"})
    assert (status, kept, list(told["fields"])) == (400, "", ["reason"])
    assert deciding(cast, verdict, body={"bogus": 1})[2]["error"] == "unknown_field"
    for raw in (b"[]", b"{", b"\xff"):
        assert deciding(cast, verdict, raw=raw)[:2] == (400, ""), raw
    assert Approval.objects.filter(status="pending").count() == 5


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_nobody_decides_after_an_approval_has_expired(cast: Cast, verdict: str) -> None:
    approval_id = created(cast.oscar, priority="P1")["task"]["approval_id"]
    Approval.objects.update(expires_at=timezone.now())  # the sweep did not come by yet
    for _ in range(2):
        answer = cast.oscar.call("POST", f"/approvals/{approval_id}/{verdict}")
        assert (answer.status_code, answer.json()["error"]) == (409, "conflict")
        assert answer.json()["detail"].startswith("This approval has expired")
        assert Task.objects.get().status in ("pending_approval", "cancelled")
        work.sweep(now=timezone.now())
    assert Approval.objects.get().status == "expired"


def test_a_long_reason_of_a_failure_settles_the_task_and_is_cut(cast: Cast) -> None:
    for length in (201, 1000, 3000):
        task_id = created(cast.oscar)["task_id"]
        answer = cast.oscar.call("PATCH", f"/tasks/{task_id}/status?status=failed&error={'x' * length}")
        assert answer.status_code == 200, answer.content
        assert Task.objects.get(task_id=task_id).error == "x" * min(length, 1000)


def test_an_orchestrators_key_settles_only_what_it_took(cast: Cast) -> None:
    ours = Organization.objects.get(pk="org-001")
    people = []
    for name in ("one", "two"):
        _, secret = keys.create(ours, name=name, acting_user=None, scopes=["orchestrator"])
        people.append(Person({"Authorization": f"Bearer {secret}"}))
    one, two = people
    task_id = created(cast.oscar)["task_id"]
    path = f"/tasks/{task_id}/status?status="
    for status in ("completed", "failed"):
        answer = one.call("PATCH", path + status)
        assert (answer.status_code, answer.json()["error"]) == (409, "conflict")
        assert "status=in_progress" in answer.json()["detail"]
    assert Task.objects.get().status == "assigned"
    assert one.call("PATCH", path + "in_progress").status_code == 200
    taken = two.call("PATCH", path + "in_progress")
    assert (taken.status_code, "holds this task" in taken.json()["detail"]) == (409, True)
    assert two.call("PATCH", path + "completed").status_code == 409
    assert one.call("PATCH", path + "completed").status_code == 200
    other = created(cast.oscar)["task_id"]  # an operator's client goes on as it did
    assert cast.oscar.call("PATCH", f"/tasks/{other}/status?status=completed").status_code == 200


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.once
@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [("POST", "/tasks", "TASKS_CREATE"), ("GET", "/tasks/tsk_0", "TASKS_READ"),
     ("PATCH", "/tasks/tsk_0/status", "TASKS_UPDATE"), ("POST", "/events/publish", "EVENTS"),
     ("GET", "/approvals/pending", "APPROVALS"), ("GET", "/approvals/history", "APPROVALS"),
     ("POST", "/approvals/apr_0/approve", "APPROVALS"), ("POST", "/approvals/apr_0/reject", "APPROVALS"),
     ("GET", "/stats", "STATS")],
)  # fmt: skip
def test_each_route_has_a_limit_of_its_own(cast: Cast, settings: Any, method: str, path: str, limit: str) -> None:
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, limit: "1/minute"}
    first, second = (cast.vera.call(method, path) for _ in range(2))
    assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == ("1", "0")
    assert (second.status_code, second.json()["error"]) == (429, "rate_limited")
    assert int(second.headers["Retry-After"]) > 0


# --- an organization's own surface -----------------------------------------------------------------------------------


def test_an_organizations_task_has_its_parameters_and_its_timeline(cast: Cast) -> None:
    body = {"task_type": "summary", "parameters": {"n": 1}, "priority": "critical", "timeout_seconds": 60}
    answer = cast.oscar.call("POST", f"{OWN}/tasks", body)
    made = answer.json()["data"]
    assert (answer.status_code, made["status"], made["priority"]) == (201, "pending_approval", 10)
    assert [step["kind"] for step in made["steps"]] == ["created", "approval_requested"]
    assert cast.vera.get(f"{OWN}/tasks/{made['task_id']}").json()["data"] == made
    assert cast.vera.get(f"/tasks/{made['task_id']}").json()["task"]["priority"] == "P0"
    gone = cast.oscar.call("PUT", f"{OWN}/tasks/{made['task_id']}/cancel", {"reason": "not needed"})
    assert gone.json()["data"]["status"] == "cancelled"
    assert cast.oscar.call("PUT", f"{OWN}/tasks/{made['task_id']}/cancel").status_code == 409


def test_a_number_never_waits_and_lists_are_narrowed(cast: Cast) -> None:
    for priority in (10, 3):
        cast.oscar.call("POST", f"{OWN}/tasks", {"task_type": "summary", "parameters": {}, "priority": priority})
    created(cast.oscar)
    assert Task.objects.filter(status="assigned").count() == 3
    for query, count in (("", 3), ("?task_type=bugfix", 1), ("?agent_id=dev_agent", 3), ("?status=dead", 0)):
        listed = cast.vera.get(f"{OWN}/tasks{query}").json()["data"]
        assert listed["total_items"] == count
        assert not any({"parameters", "result"} & set(item) for item in listed["items"])
    assert (
        cast.oscar.call("POST", f"{OWN}/tasks", {"task_type": "x", "parameters": {}, "priority": 11}).status_code == 400
    )


def test_agents_are_made_listed_and_asked_how_they_are(cast: Cast) -> None:
    body = {"agent_id": "reviewer", "name": "Reviewer", "model": "openai/gpt-4o", "system_prompt": "Be kind.",
            "parameters": {"temperature": 0}, "capabilities": ["review"]}  # fmt: skip
    assert cast.alice.call("POST", f"{OWN}/agents", body).status_code == 201
    assert cast.alice.call("POST", f"{OWN}/agents", body).status_code == 409
    assert cast.oscar.call("POST", f"{OWN}/agents", {"name": "Mine"}).status_code == 403
    assert created(cast.oscar, type="review")["task"]["assigned_agent"] == "reviewer"
    items = cast.vera.get(f"{OWN}/agents").json()["data"]["items"]
    assert [{name: item[name] for name in body} for item in items] == [body]
    kinds = ("prompt", "summary")
    free, other = (created(cast.oscar, type=kind, payload={"prompt": "Hi", "model": "echo/echo"}) for kind in kinds)
    assert (free["task"]["assigned_agent"], free["message"]) == ("", "Task created")
    assert other["task"]["assigned_agent"] == "dev_agent"
    Route.objects.create(task_type="prompt", agent_id="reviewer")
    assert created(cast.oscar, type="prompt", payload={"prompt": "Hi"})["task"]["assigned_agent"] == "reviewer"
    told = cast.vera.get(f"{OWN}/agents/reviewer/status").json()["data"]
    assert told == {"agent_id": "reviewer", "status": "active", "tasks": {"assigned": 2}}
