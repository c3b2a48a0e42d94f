"""Bulk actions and jobs: the doors, what is done to whom, and that nothing is done twice."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from moolai.errors import Conflict
from orchestrators import bulk, instances, jobs
from orchestrators.jobs import running
from orchestrators.models import Instance, Job, Message
from orgs.models import AuditEntry, Event, Membership, Organization, User
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
BULK, JOBS = "/api/v1/internal/bulk", "/api/v1/internal/jobs"
MESSAGE = {"message_type": "reload", "message_content": {"secret-ish": 1}}
ORDER = {"action": "message", "selector": {"all": True}, "parameters": MESSAGE}


@pytest.fixture
def people(settings: Any, tmp_path: Any) -> Cast:
    """The cast, with a-1 … a-5 of org-001 (odd ones env=prod) and b-1 of org-002."""
    settings.INDEPENDENCE_ENV_FILE = tmp_path / "independence.env"
    settings.INDEPENDENCE_JSON_FILE = tmp_path / "independence.json"
    found = cast.make(settings)
    ours, theirs = Organization.objects.get(pk="org-001"), Organization.objects.get(pk="org-002")
    for number in range(1, 6):
        carried = {"env": "prod" if number % 2 else "test"}
        instances.create(f"a-{number}", organization=ours, acting_user=None, labels=carried)
    instances.create("b-1", organization=theirs, acting_user=None, labels={"env": "prod"})
    AuditEntry.objects.all().delete()
    Event.objects.all().delete()
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of two rows."""
    monkeypatch.setattr(bulk, "CHUNK", 2)


def data(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return answer.json()["data"]


def post(**fields: Any) -> Job:
    wish: dict[str, Any] = {"selector": {"all": True}, "parameters": MESSAGE, "acting_user": None} | fields
    return bulk.start(wish.pop("action", "message"), **wish)


def receivers() -> list[str]:
    return sorted(Message.objects.values_list("orchestrator__orchestrator_id", flat=True))


def events(kind: str) -> list[Event]:
    return list(Event.objects.filter(kind=kind).order_by("id"))


# --- the doors -------------------------------------------------------------------------------------------------------


def test_a_bulk_message_is_a_job_that_reaches_the_chosen_of_the_own_organization(people: Cast, small: None) -> None:
    row = data(people.oscar.call("POST", BULK, {**ORDER, "selector": {"labels": {"env": "prod"}}}), 202)
    assert (row["status"], row["total"], row["done"], row["percent"]) == ("queued", 3, 0, 0)
    assert (row["kind"], row["organization_id"]) == ("bulk.message", "org-001")
    assert row["actor"].endswith("(operator)")
    assert jobs.drain() == 1
    row = data(people.vera.get(f"{JOBS}/{row['job_id']}"))
    assert (row["status"], row["total"], row["done"], row["failed"], row["percent"]) == ("completed", 3, 3, 0, 100)
    assert receivers() == ["a-1", "a-3", "a-5"]
    message = Message.objects.get(orchestrator__orchestrator_id="a-3")
    assert (message.message_id, message.message_type) == (f"{row['job_id']}-a-3", "reload")
    assert (message.message_content, message.status) == ({"secret-ish": 1}, "pending")


def test_one_audit_row_names_selector_and_count_and_every_session_is_woken(people: Cast) -> None:
    people.oscar.call("POST", BULK, {**ORDER, "selector": {"labels": {"env": "prod"}}})
    jobs.drain()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.organization_id, entry.target_type) == ("bulk.message", "org-001", "job")
    assert entry.after == {
        "selector": {"labels": {"env": "prod"}},
        "parameters": {"message_type": "reload"},
        "orchestrators": 3,
    }
    assert [row.orchestrator_id for row in events("message.queued")] == ["a-1", "a-3", "a-5"]
    assert sorted(Event.objects.filter(kind__startswith="job.").values_list("kind", flat=True)) == [
        "job.completed", "job.queued",
    ]  # fmt: skip


def test_across_organizations_each_has_its_own_audit_row(people: Cast) -> None:
    data(people.root.call("POST", BULK, {**ORDER, "selector": {"labels": {"env": "prod"}}}), 202)
    found = AuditEntry.objects.order_by("organization_id").values_list("organization_id", "after__orchestrators")
    assert list(found) == [("org-001", 3), ("org-002", 1)]
    assert data(people.alice.get(JOBS))["items"] == []


def test_an_organizations_audit_row_names_no_orchestrator_of_another_one(people: Cast) -> None:
    chosen = {"orchestrator_ids": ["a-1", "b-1", "a-2", "nobody"]}
    data(people.root.call("POST", BULK, {**ORDER, "selector": chosen}), 202)
    rows = AuditEntry.objects.order_by("organization_id").values_list("organization_id", "after__selector")
    assert list(rows) == [("org-001", {"orchestrator_ids": ["a-1", "a-2"]}), ("org-002", {"orchestrator_ids": ["b-1"]})]
    assert "b-1" not in people.alice.get("/api/v1/internal/audit").content.decode()


def test_a_large_message_to_many_is_written_in_small_statements(people: Cast) -> None:
    content = {"text": ["x" * 60_000] * 4}
    post(selector={"labels": {"env": "prod"}}, parameters={"message_type": "x", "message_content": content})
    Instance.objects.bulk_create(
        Instance(orchestrator_id=f"more-{number}", organization_id="org-001", labels={"env": "prod"})
        for number in range(40)
    )
    Job.objects.update(last=Instance.objects.latest("pk").pk)
    with CaptureQueriesContext(connection) as asked:
        jobs.drain()
    assert Message.objects.count() == 44
    assert max(len(row["sql"]) for row in asked.captured_queries) < 6 * 1024 * 1024


@pytest.mark.parametrize(
    ("who", "action", "status"),
    [
        ("vera", "message", 403), ("vera", "labels", 403), ("oscar", "message", 202), ("oscar", "labels", 403),
        ("oscar", "independence", 403), ("alice", "labels", 202), ("alice", "independence", 202),
        ("root", "independence", 202), ("machine", "message", 403), ("nobody", "message", 401),
        ("mallory", "message", 403),
    ],
)  # fmt: skip
def test_roles(people: Cast, who: str, action: str, status: int) -> None:
    parameters = {"message": MESSAGE, "labels": {"set": {"a": "b"}}, "independence": {"is_independent": True}}[action]
    wish = {"action": action, "selector": {"all": True}, "parameters": parameters}
    assert getattr(people, who).call("POST", BULK, wish).status_code == status
    assert Job.objects.count() == (1 if status == 202 else 0)


def test_a_foreign_organization_is_not_found_and_foreign_ids_are_as_absent_as_missing_ones(people: Cast) -> None:
    wish = {**ORDER, "selector": {"organization_id": "org-002"}}
    assert people.alice.call("POST", BULK, wish).status_code == 404
    assert people.alice.call("POST", BULK, {**ORDER}, **{"X-Organization-Id": "org-002"}).status_code == 404
    wish = {**ORDER, "selector": {"orchestrator_ids": ["a-1", "b-1", "nobody"]}}
    row = data(people.alice.call("POST", BULK, wish), 202)
    jobs.drain()
    row = data(people.alice.get(f"{JOBS}/{row['job_id']}"))
    assert (row["total"], row["done"], row["failed"]) == (3, 1, 2)
    absent = "There is no such orchestrator."
    assert row["errors"] == [{"orchestrator_id": name, "error": absent} for name in ("b-1", "nobody")]
    assert receivers() == ["a-1"]


def test_charlie_sees_no_job_of_ours_and_cancels_none(people: Cast) -> None:
    row = data(people.alice.call("POST", BULK, ORDER), 202)
    path = f"{JOBS}/{row['job_id']}"
    assert people.charlie.get(path).status_code == 404
    assert people.charlie.get(path).json()["detail"] == people.charlie.get(f"{JOBS}/job_nothing").json()["detail"]
    assert people.charlie.call("POST", f"{path}/cancel", {}).status_code == 404
    assert data(people.charlie.get(JOBS))["total_items"] == 0
    assert people.vera.call("POST", f"{path}/cancel", {}).status_code == 403
    assert people.machine.get(path).status_code == 403
    assert people.nobody.get(path).status_code == 401
    assert people.alice.call("PUT", BULK, ORDER).status_code == 405


def test_somebody_of_two_organizations_names_one(people: Cast) -> None:
    user = User.objects.create(username="both")
    for pk in ("org-001", "org-002"):
        Membership.objects.create(user=user, organization_id=pk, role="admin")
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    answer = client.post(BULK, ORDER, content_type="application/json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["selector.organization_id"])
    named = {**ORDER, "selector": {"organization_id": "org-002"}}
    assert data(client.post(BULK, named, content_type="application/json"), 202)["total"] == 1
    answer = client.post(BULK, ORDER, content_type="application/json", headers={"X-Organization-Id": "org-001"})
    assert data(answer, 202)["total"] == 5


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        ({"action": "explode"}, "invalid_field", "action"),
        ({"selector": {}}, "invalid_field", "selector"),
        ({"selector": {"labels": {"ENV": "x"}}}, "invalid_field", "selector.labels"),
        ({"selector": {"colour": "red"}}, "invalid_field", "selector.colour"),
        ({"selector": []}, "invalid_field", "selector"),
        ({"parameters": {}}, "invalid_field", "parameters.message_type"),
        ({"parameters": {"message_type": 5}}, "invalid_field", "parameters.message_type"),
        ({"parameters": {"message_type": "x" * 51}}, "invalid_field", "message_type"),
        ({"parameters": {**MESSAGE, "expires_in": True}}, "invalid_field", "parameters.expires_in"),
        ({"parameters": {**MESSAGE, "expires_in": 0}}, "invalid_field", "parameters.expires_in"),
        ({"parameters": {**MESSAGE, "expires_in": None}}, "invalid_field", "parameters.expires_in"),
        ({"parameters": {**MESSAGE, "surprise": 1}}, "invalid_field", "parameters.surprise"),
        ({"parameters": {"message_type": "ack"}}, "reserved_message_type", ""),
        ({"action": "labels", "parameters": {}}, "invalid_field", "parameters"),
        ({"action": "labels", "parameters": {"set": {"A": "b"}}}, "invalid_field", "parameters.set"),
        ({"action": "labels", "parameters": {"remove": "env"}}, "invalid_field", "parameters.remove"),
        ({"action": "independence", "parameters": {"is_independent": 1}}, "invalid_field", "parameters.is_independent"),
        ({"surprise": 1}, "unknown_field", "surprise"),
    ],
)
def test_what_cannot_be_done_is_refused_by_path_and_posts_nothing(
    people: Cast, change: dict[str, Any], code: str, place: str
) -> None:
    answer = people.alice.call("POST", BULK, ORDER | change)
    assert (answer.status_code, answer.json()["error"]) == (400, code)
    assert list(answer.json().get("fields", {})) == ([place] if place else [])
    assert Job.objects.count() == 0


def test_the_same_call_again_with_an_idempotency_key_is_the_same_job(people: Cast) -> None:
    answers = [people.alice.call("POST", BULK, ORDER, **{"Idempotency-Key": "k1"}) for _ in range(2)]
    assert data(answers[0], 202)["job_id"] == data(answers[1], 202)["job_id"]
    assert Job.objects.count() == 1


def test_jobs_are_listed_newest_first_and_filtered(people: Cast, django_assert_num_queries: Any) -> None:
    first = data(people.alice.call("POST", BULK, ORDER), 202)["job_id"]
    second = data(
        people.alice.call("POST", BULK, {**ORDER, "action": "labels", "parameters": {"set": {"a": "b"}}}), 202
    )["job_id"]
    running.run(running.claim(first))  # type: ignore[arg-type]
    assert [row["job_id"] for row in data(people.vera.get(JOBS))["items"]] == [second, first]
    assert [row["job_id"] for row in data(people.vera.get(f"{JOBS}?status=completed"))["items"]] == [first]
    assert [row["job_id"] for row in data(people.vera.get(f"{JOBS}?kind=bulk.labels"))["items"]] == [second]
    assert people.vera.get(f"{JOBS}?status=lost").json()["error"] == "invalid_parameter"
    people.vera.get(JOBS)
    with django_assert_num_queries(3):  # the key, the count, the page
        people.vera.get(JOBS)


# --- what is done ----------------------------------------------------------------------------------------------------


def test_independence_moves_flag_status_and_deadline_and_says_so(people: Cast, small: None) -> None:
    seen = timezone.now()
    Instance.objects.filter(orchestrator_id="a-1").update(status="active", last_seen=seen, deadline_at=seen)
    post(action="independence", parameters={"is_independent": True}, organization_id="org-001")
    jobs.drain()
    ours = Instance.objects.filter(organization_id="org-001")
    assert set(ours.values_list("is_independent", "status", "deadline_at")) == {(True, "independent", None)}
    assert ours.get(orchestrator_id="a-1").last_seen == seen
    assert not Instance.objects.get(orchestrator_id="b-1").is_independent
    assert len(events("independence.changed")) == 5
    post(action="independence", parameters={"is_independent": False}, selector={"status": "independent"})
    jobs.drain()
    back = {row.orchestrator_id: row for row in ours}
    assert {name: row.status for name, row in back.items() if row.status != "inactive"} == {"a-1": "active"}
    assert back["a-1"].deadline_at is not None
    assert len(events("independence.changed")) == 10


def test_a_row_that_has_the_value_already_is_done_without_an_event(people: Cast) -> None:
    post(action="independence", parameters={"is_independent": False})
    jobs.drain()
    assert events("independence.changed") == []
    assert Job.objects.get().done == 6


def test_labels_are_set_and_removed_and_a_row_that_would_have_too_many_fails(people: Cast) -> None:
    Instance.objects.filter(orchestrator_id="a-2").update(labels={f"n{number}": "x" for number in range(32)})
    post(action="labels", parameters={"set": {"tier": "1"}, "remove": ["env", "absent"]}, organization_id="org-001")
    jobs.drain()
    job = Job.objects.get()
    assert (job.done, job.failed, job.status) == (4, 1, "completed")
    assert job.errors == [{"orchestrator_id": "a-2", "error": "It would have more than 32 labels."}]
    assert Instance.objects.get(orchestrator_id="a-1").labels == {"tier": "1"}


def test_a_job_works_on_the_rows_of_the_moment_it_was_posted(people: Cast, small: None) -> None:
    job = post(selector={"organization_id": "org-001"}, organization_id="org-001")
    instances.create("a-9", organization=Organization.objects.get(pk="org-001"), acting_user=None)
    instances.delete(Instance.objects.get(orchestrator_id="a-4"), acting_user=None)
    jobs.drain()
    job.refresh_from_db()
    assert receivers() == ["a-1", "a-2", "a-3", "a-5"]
    assert (job.total, job.done, job.status) == (4, 4, "completed")


def test_a_chosen_row_that_was_deleted_meanwhile_failed(people: Cast, small: None) -> None:
    job = post(selector={"orchestrator_ids": ["a-1", "a-2", "a-3", "a-4"]})
    instances.delete(Instance.objects.get(orchestrator_id="a-3"), acting_user=None)
    jobs.drain()
    job.refresh_from_db()
    assert (job.done, job.failed, job.total, job.status) == (3, 1, 4, "completed")
    assert job.errors[0]["error"] == "It was deleted meanwhile."


def test_a_selection_of_nothing_is_completed_at_once(people: Cast) -> None:
    job = post(selector={"labels": {"env": "moon"}})
    jobs.drain()
    job.refresh_from_db()
    assert (job.status, job.total, job.done) == ("completed", 0, 0)


def test_messages_expire_counted_from_when_they_were_asked_for(people: Cast) -> None:
    job = post(parameters={**MESSAGE, "expires_in": 60})
    jobs.drain()
    assert set(Message.objects.values_list("expires_at", flat=True)) == {job.created_at + timedelta(seconds=60)}


# --- exactly once ----------------------------------------------------------------------------------------------------


def claimed(job: Job) -> Job:
    found = running.claim(job.job_id)
    assert found is not None
    return found


def test_a_held_job_is_nobody_elses_until_its_lease_is_over(people: Cast, small: None) -> None:
    job = claimed(post())
    assert running.claim() is None
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert claimed(job).holder != job.holder


def test_the_successor_goes_on_where_the_last_piece_ended_and_the_old_worker_stops(people: Cast, small: None) -> None:
    old = claimed(post())
    old = running._piece(old)
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    new = claimed(old)
    assert running.run(old).done == 2  # it notices, and leaves the job alone
    assert running.run(new).status == "completed"
    assert receivers() == ["a-1", "a-2", "a-3", "a-4", "a-5", "b-1"]
    assert len(events("message.queued")) == 6


def test_a_piece_that_breaks_off_never_happened(people: Cast, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    job, calls = claimed(post()), []

    def broken(row: Job) -> Any:
        piece = bulk.work(row)
        calls.append(piece)
        if len(calls) == 2:
            raise OperationalError("the database went away")
        return piece

    before = running._handlers
    monkeypatch.setattr(running, "_handlers", {"bulk.message": broken})
    assert running.run(job).done == 2
    assert len(receivers()) == 2
    monkeypatch.setattr(running, "_handlers", before)
    assert running.claim() is None  # the lease has to run out first
    Job.objects.update(lease_until=timezone.now())
    assert jobs.drain() == 1
    assert len(receivers()) == 6
    assert Job.objects.get().status == "completed"


def test_a_job_that_does_not_get_on_fails_in_the_end(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(row: Job) -> Any:
        raise ZeroDivisionError

    post()
    monkeypatch.setattr(running, "_handlers", {"bulk.message": broken})
    assert jobs.drain() == 6
    job = Job.objects.get()
    assert job.status == "failed"
    assert "did not get on" in job.errors[0]["error"]
    assert [row.kind for row in events("job.failed")] == ["job.failed"]


def test_a_cancelled_job_stops_between_two_pieces_and_cannot_be_cancelled_twice(people: Cast, small: None) -> None:
    row = data(people.alice.call("POST", BULK, ORDER), 202)
    job = running._piece(claimed(Job.objects.get()))
    answer = data(people.alice.call("POST", f"{JOBS}/{row['job_id']}/cancel", {}))
    assert (answer["status"], answer["done"], answer["percent"]) == ("cancelled", 2, 40)
    assert running.run(job).status == "cancelled"
    assert len(receivers()) == 2
    assert jobs.drain() == 0
    assert people.alice.call("POST", f"{JOBS}/{row['job_id']}/cancel", {}).json()["error"] == "conflict"
    assert people.alice.call("POST", f"{JOBS}/{row['job_id']}/cancel", {"x": 1}).json()["error"] == "unknown_field"
    with pytest.raises(Conflict):
        jobs.cancel(job, acting_user=None)
    assert list(AuditEntry.objects.values_list("action", flat=True).order_by("id")) == ["bulk.message", "job.cancel"]


def test_a_piece_costs_the_same_whatever_its_size(people: Cast, django_assert_num_queries: Any) -> None:
    job = claimed(post())
    with django_assert_num_queries(
        9
    ):  # savepoint, the job, rows, those known, messages, events, the job, its event, release
        running._piece(job)


@pytest.mark.django_db(transaction=True)
def test_posting_wakes_a_worker_after_the_commit(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrators.jobs import board

    calls: list[int] = []
    listeners: list[Callable[[], None]] = [lambda: calls.append(Job.objects.count())]
    monkeypatch.setattr(board, "_listeners", listeners)
    post()
    assert calls == [1]


# --- the command -----------------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("bulk", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_the_command_does_it_and_says_how_it_went(people: Cast) -> None:
    text = run("message", "reload", json.dumps({"a": 1}), "--labels", "env=prod", "--organization", "org-001")
    assert "completed: 3 done, 0 failed of 3" in text
    assert receivers() == ["a-1", "a-3", "a-5"]
    assert AuditEntry.objects.get().actor == "command bulk"
    run("labels", "--set", "tier=1", "--remove", "env", "--search", "b-")
    assert Instance.objects.get(orchestrator_id="b-1").labels == {"tier": "1"}


def test_the_command_fails_when_it_failed_for_some_and_says_for_whom(people: Cast) -> None:
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"^It failed for 1 of 3\.$"):
        call_command("bulk", "independence", "on", "--id", "a-1", "--id", "a-2", "--id", "moon", stdout=out, stderr=out)
    assert "2 done, 1 failed of 3\nmoon: There is no such orchestrator.\n" in out.getvalue()


def test_the_command_names_all_that_is_missing_in_its_own_words(people: Cast) -> None:
    with pytest.raises(CommandError) as refusal:
        run("labels")
    assert str(refusal.value).splitlines() == [
        "Name some: --labels, --status, --organization, --search or --id, or --all.",
        "Give --set, or --remove.",
    ]
    with pytest.raises(CommandError, match=r"^--expires-in: is a number"):
        run("message", "x", "--all", "--expires-in", "-3")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("message", "reload"), "^Name some: --labels, .* or --all.$"),
        (("message", "reload", "{", "--all"), "not JSON"),
        (("message", "ack", "--all"), "belongs to the protocol"), (("labels", "--set", "A=b", "--all"), "no label"),
        (("labels", "--all"), "^Give --set, or --remove.$"),
        (("message", "x", "--organization", "moon"), "no organization moon"),
    ],
)  # fmt: skip
def test_the_command_refuses_in_a_sentence(people: Cast, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        run(*arguments)
    assert Job.objects.count() == 0


def test_long_jobs_leave_threads_of_the_worker_to_the_clock(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    posted = [post() for _ in range(3)]
    taken: list[tuple[str, int]] = []

    def meanwhile(job: Job) -> jobs.Piece:
        """Be so long that the next wake-up comes before the end."""
        taken.append((job.job_id, jobs.drain()))
        return jobs.Piece(position=0, done=0, is_last=True)

    monkeypatch.setattr(running, "_handlers", dict.fromkeys(bulk.HANDLERS, meanwhile))
    assert jobs.drain() == 1
    inner, outer = taken[0], taken[-1]
    assert (inner, outer) == ((posted[1].job_id, 0), (posted[0].job_id, 2))
    assert {job.status for job in Job.objects.all()} == {Job.Status.COMPLETED}
