"""The job of a staged rollout: it shows how far the rollout is, is nobody's to do, and cancels it."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from moolai.errors import Conflict
from orchestrators import configuration, instances, jobs, retention, tenants
from orchestrators.configuration import rollouts
from orchestrators.models import Instance, Job, Rollout
from orchestrators.tests import rolling
from orchestrators.tests.rolling import NEW, again, begin, later, report, running
from orgs.models import AuditEntry, Organization, User
from orgs.tests import cast as casting
from orgs.tests.cast import Cast

URL = "/api/v1/orchestrators/org-001/config/rollouts"
JOBS = "/api/v1/internal/jobs"


@pytest.fixture
def home(db: None) -> Organization:
    """An organization at version 1, with twenty connected orchestrators that have applied it."""
    return rolling.settle()


def numbers() -> tuple[Any, ...]:
    row = Job.objects.get()
    return row.status, row.total, row.done, row.failed, row.percent


def test_a_job_shows_how_far_a_staged_rollout_is(home: Organization) -> None:
    assert not Job.objects.exists(), "a plain change is done when it is published"
    rollout = begin(home, 25)
    job = Job.objects.get()
    assert (rollout.job, job.kind, job.organization_id) == (job, "rollout", "org-001")
    assert job.request == {"rollout": rollout.pk, "version": 2, "stages": [{"percent": 25}, {"percent": 100}]}
    assert numbers() == ("running", 20, 0, 0, 0)
    report(running(2)[:2])
    assert numbers() == ("running", 20, 2, 0, 10), "within a stage, too"
    report(running(2))
    report(running(2)[:19])
    report(running(2)[19:], "failed", "no")
    assert numbers() == ("completed", 20, 19, 1, 100)
    job.refresh_from_db()
    assert (job.result or {})["status"] == "completed"
    assert job.finished_at is not None
    assert [row["error"] for row in job.errors] == ["no"]


def test_a_rollout_that_halts_is_a_failed_job(home: Organization) -> None:
    rollout = begin(home, 25)
    report(running(2)[:1], "failed", "no such feature")
    assert numbers() == ("failed", 20, 0, 1, 5)
    job = Job.objects.get()
    assert job.errors == again(rollout).failures
    assert job.result == {"rollout": rollout.pk, "status": "halted", "reason": "1 of 5 failed."}


def test_no_worker_takes_the_job_of_a_rollout(home: Organization) -> None:
    begin(home, 25)
    assert jobs.drain() == 0
    assert numbers()[0] == "running"


def test_cancelling_the_job_cancels_the_rollout(home: Organization) -> None:
    rollout = begin(home, 25)
    report(running(2)[:2])
    AuditEntry.objects.all().delete()
    done = jobs.cancel(Job.objects.get(), acting_user=None)
    assert (done.status, done.done, again(rollout).status, running(2)) == ("cancelled", 2, "cancelled", [])
    assert AuditEntry.objects.get().action == "rollout.cancel"
    with pytest.raises(Conflict):
        jobs.cancel(done, acting_user=None)


def test_cancelling_the_rollout_ends_its_job(home: Organization) -> None:
    rollouts.cancel(begin(home, 25), acting_user=None, reason="changed our minds")
    assert numbers()[0] == "cancelled"
    assert (Job.objects.get().result or {})["reason"] == "changed our minds"


def test_a_job_that_served_its_time_leaves_its_rollout(home: Organization) -> None:
    rollout = begin(home, 25)
    rollouts.cancel(rollout, acting_user=None)
    retention.prune(now=timezone.now() + timedelta(days=31))
    assert (Job.objects.count(), Rollout.objects.get(pk=rollout.pk).job) == (0, None)


def test_deleting_an_organization_leaves_no_job_open(home: Organization) -> None:
    begin(home, 25)
    Instance.objects.update(is_connected=False)
    tenants.delete(home, acting_user=None)
    assert Job.objects.get().status == "cancelled"
    with pytest.raises(Conflict):
        jobs.cancel(Job.objects.get(), acting_user=None)


def test_a_silent_sweep_writes_nothing_to_the_job(home: Organization, django_assert_num_queries: Any) -> None:
    begin(home, 25)
    with django_assert_num_queries(3):  # the rollouts, their counts, the job where it changed
        later(0)


# --- the doors -------------------------------------------------------------------------------------------------------


@pytest.fixture
def cast(db: None, settings: Any) -> Cast:
    found = casting.make(settings)
    home = Organization.objects.get(pk="org-001")
    for number in range(4):
        instances.create(f"orch-{number:02}", organization=home, acting_user=None)
    Instance.objects.update(is_connected=True, is_acknowledging=True)
    return found


def test_the_job_over_http(cast: Cast) -> None:
    configuration.publish(Organization.objects.get(pk="org-001"), rolling.OLD, acting_user=None)
    answer = cast.alice.call("POST", URL, {"config": NEW, "stages": [{"percent": 25}]})
    assert answer.status_code == 201, "the watch over a plain change is no obstacle"
    rollout = answer.json()["data"]
    job = cast.vera.get(f"{JOBS}/{rollout['job_id']}").json()["data"]
    assert (job["kind"], job["status"], job["total"]) == ("rollout", "running", 4)
    assert job["request"]["rollout"] == rollout["id"]
    assert [row["job_id"] for row in cast.vera.get(f"{JOBS}?kind=rollout").json()["data"]["items"]] == [job["job_id"]]
    assert cast.vera.call("POST", f"{JOBS}/{job['job_id']}/cancel", {}).status_code == 403
    assert cast.alice.call("POST", f"{JOBS}/{job['job_id']}/cancel", {}).json()["data"]["status"] == "cancelled"
    assert cast.alice.get(f"{URL}/{rollout['id']}").json()["data"]["status"] == "cancelled"
    assert cast.alice.call("POST", f"{JOBS}/{job['job_id']}/cancel", {}).json()["error"] == "conflict"
    listed = cast.vera.get(URL).json()["data"]["items"]
    assert [row["job_id"] for row in listed] == [job["job_id"], None]
    entry = AuditEntry.objects.get(action="rollout.cancel")
    assert entry.actor == AuditEntry.objects.get(action="rollout.start").actor != "system"


@pytest.mark.once
def test_the_console_shows_the_job_with_its_rollout(home: Organization, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root", password="x" * 20))
    rollout = begin(home, 25)
    job = Job.objects.get()
    page = client.get(f"/admin/orchestrators/job/{job.pk}/change/").content.decode()
    assert "Roll out a configuration" in page
    assert f"/admin/orchestrators/rollout/{rollout.pk}/change/" in page
    assert job.job_id in client.get(f"/admin/orchestrators/rollout/{rollout.pk}/change/").content.decode()
    done = client.post(f"/admin/orchestrators/job/{job.pk}/cancel/", follow=True).content.decode()
    assert "its members go back" in done
    assert again(rollout).status == "cancelled"
