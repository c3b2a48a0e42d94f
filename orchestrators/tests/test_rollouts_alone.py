"""What rollouts do by themselves: the sweep over broken ones, where an automatic rollback leads, and who is named."""

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from moolai.errors import InvalidInput
from orchestrators import configuration, instances, presence, tasks
from orchestrators.configuration import rollouts, versions
from orchestrators.messages import outbox
from orchestrators.models import ConfigVersion, Instance, Message, Rollout
from orchestrators.tests import rolling
from orchestrators.tests.rolling import NEW, OLD, again, begin, later, released, report, running
from orgs import audit, organizations
from orgs.models import AuditEntry, Organization

WORST: dict[str, Any] = {"features": {"n": 3}}


@pytest.fixture
def home(db: None) -> Organization:
    """An organization at version 1, with twenty connected orchestrators that have applied it."""
    return rolling.settle()


# --- the sweep -------------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(home: Organization) -> tuple[Rollout, Rollout]:
    """A rollout that cannot go on, older than one of another organization that can."""
    first = begin(home, 25)
    Rollout.objects.filter(pk=first.pk).update(stages=[{"nonsense": 1}, {"percent": 100}], stage=7)
    other = organizations.create("org-002", name="Other", acting_user=None)
    instances.create("other-0", organization=other, acting_user=None)
    Instance.objects.filter(organization=other).update(is_connected=True, is_acknowledging=True)
    second = begin(other, 50)
    Instance.objects.update(config_status="applied")
    return first, second


def test_a_broken_rollout_stops_no_other_and_is_told_once(
    broken: tuple[Rollout, Rollout], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = broken
    with caplog.at_level(logging.ERROR):
        later(0)
        later(5)
    assert again(second).status == "completed"
    assert again(first).status == "running"
    told = [record for record in caplog.records if f"rollout {first.pk}" in record.getMessage()]
    assert len(told) == 1
    assert told[0].exc_info is not None


def test_reports_are_stored_whatever_becomes_of_a_rollout(broken: tuple[Rollout, Rollout]) -> None:
    first, _ = broken
    rows = rolling.fleet(organization_id="org-001", config_rollout=first.pk)
    Instance.objects.filter(pk__in=[row.pk for row in rows]).update(config_status="pending")
    report(rows)
    assert {row.config_status for row in rolling.fleet(pk__in=[row.pk for row in rows])} == {"applied"}


def test_each_part_of_the_sweep_is_done_whatever_becomes_of_the_others(
    home: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = begin(home, 25)
    Instance.objects.update(config_status="applied")
    row = Instance.objects.first()
    assert row is not None
    message = outbox.queue(row.orchestrator_id, message_type="x", content={}, acting_user=None)
    Message.objects.update(expires_at=timezone.now())

    def fails(**_: Any) -> None:
        raise OperationalError("deadlock detected")

    monkeypatch.setattr(presence, "sweep", fails)
    result = tasks.sweep.apply()
    assert isinstance(result.result, ExceptionGroup)
    assert str(result.result).startswith("1 part of the sweep failed")
    assert Message.objects.get(pk=message.pk).status == "expired"
    assert again(rollout).stage == 1


# --- the way back ----------------------------------------------------------------------------------------------------


def test_a_bad_version_after_a_bad_version_goes_back_to_the_last_good_one(home: Organization) -> None:
    configuration.publish(home, NEW, acting_user=None)
    configuration.publish(home, WORST, acting_user=None)
    watch = Rollout.objects.select_related("target", "previous").get(status="running")
    assert watch.previous_version == 1, "version 2 has not been proven"
    entry = AuditEntry.objects.filter(action="config.publish").latest("sequence")
    assert entry.before == {"version": 2}, "what it replaced is another thing than where it goes back to"
    report(running(3), "failed")
    assert (released(home), ConfigVersion.objects.latest("version").source) == (OLD, "automatic rollback")


def test_a_version_that_was_halted_is_never_gone_back_to(home: Organization) -> None:
    configuration.publish(home, NEW, acting_user=None)
    report(running(2), "failed")
    report(running(1), "failed")  # what came back fails, too: version 3 is halted as well
    configuration.publish(home, WORST, acting_user=None)
    report(running(3), "failed")
    assert (released(home), Rollout.objects.latest("pk").target.version) == (OLD, 5)
    assert Rollout.objects.exclude(previous=None).latest("pk").previous is not None
    assert Rollout.objects.get(target__version=4).previous == ConfigVersion.objects.get(version=1)


def test_a_version_that_was_rolled_out_in_stages_is_proven(home: Organization) -> None:
    begin(home, 25)
    report(running(2))
    report(running(2))
    configuration.publish(home, WORST, acting_user=None)
    assert Rollout.objects.select_related("previous").latest("pk").previous_version == 2


def test_a_version_that_all_who_are_there_applied_is_proven_though_somebody_is_away(home: Organization) -> None:
    Instance.objects.filter(orchestrator_id="orch-00").update(is_connected=False)
    configuration.publish(home, NEW, acting_user=None)
    report(rolling.fleet(is_connected=True))
    configuration.publish(home, WORST, acting_user=None)
    report(running(3), "failed")
    assert released(home) == NEW


def test_a_version_that_one_of_them_has_not_answered_or_refused_is_not(home: Organization) -> None:
    here = rolling.fleet()
    for version, last in ((2, ""), (3, "failed")):
        configuration.publish(home, {"features": {"n": 10 + version}}, acting_user=None)
        report(here[1:])
        if last:
            Instance.objects.filter(pk=here[2].pk).update(is_connected=False, config_status="pending")
            report(here[:1], last)
        configuration.publish(home, {"features": {"n": 20 + version}}, acting_user=None)
        assert Rollout.objects.select_related("previous").latest("pk").previous_version == 1


def test_where_nothing_is_proven_the_version_before_is_the_way_back(db: None) -> None:
    home = organizations.create("org-001", name="Acme", acting_user=None)
    instances.create("orch-00", organization=home, acting_user=None)
    Instance.objects.update(is_connected=True, is_acknowledging=True)
    configuration.publish(home, OLD, acting_user=None)
    configuration.publish(home, NEW, acting_user=None)
    assert Rollout.objects.select_related("previous").latest("pk").previous_version == 1


def test_a_configuration_from_before_rollouts_is_as_good_as_proven(db: None) -> None:
    home = organizations.create("org-001", name="Acme", acting_user=None, settings={"config": OLD})
    instances.create("orch-00", organization=home, acting_user=None)
    Instance.objects.update(is_connected=True, is_acknowledging=True)
    configuration.publish(home, NEW, acting_user=None)
    configuration.publish(home, WORST, acting_user=None)
    report(rolling.fleet(), "failed")
    assert released(home) == OLD
    assert versions.current(home).version == 4


# --- one after another -----------------------------------------------------------------------------------------------


def test_a_staged_rollout_ends_the_watch_over_a_plain_change(home: Organization) -> None:
    configuration.publish(home, NEW, acting_user=None)
    watch = Rollout.objects.get(status="running")
    rollout = rollouts.start(home, WORST, wanted=[{"percent": 10}], acting_user=None)
    assert (again(watch).status, again(watch).reason) == ("cancelled", "Superseded by version 3.")
    assert (rollout.status, rollout.previous_version, len(running(3))) == ("running", 2, 2)
    rollouts.cancel(rollout, acting_user=None)
    assert (released(home), len(running(2))) == (NEW, 20)


def test_a_staged_rollout_that_is_refused_leaves_the_watch_alone(home: Organization) -> None:
    configuration.publish(home, NEW, acting_user=None)
    with pytest.raises(InvalidInput):
        rollouts.start(home, WORST, wanted=[{"labels": {"env": "no"}}], acting_user=None)
    assert Rollout.objects.get(status="running").target.version == 2


# --- who is named ----------------------------------------------------------------------------------------------------


def test_what_a_resumed_rollout_does_by_itself_is_the_systems(home: Organization) -> None:
    rollout = begin(home, 25)
    rollouts.pause(rollout, acting_user=None)
    report(running(2))
    Instance.objects.update(config_status="applied")
    with audit.origin("command rollout", remote_address="10.0.0.9", request_id="r-1"):
        assert rollouts.resume(rollout, acting_user=None).stage == 1
        rows = running(2)
    report(rows)
    found = AuditEntry.objects.filter(action__in=["rollout.resume", "rollout.complete"]).order_by("sequence")
    assert [(row.action, row.actor, row.remote_address, row.request_id) for row in found] == [
        ("rollout.resume", "command rollout", "10.0.0.9", "r-1"),
        ("rollout.complete", "system", "", ""),
    ]


def test_an_end_that_a_resume_brings_at_once_is_the_systems(home: Organization) -> None:
    rollout = rollouts.start(home, NEW, wanted=[{"percent": 100}], acting_user=None)
    rollouts.pause(rollout, acting_user=None)
    report(running(2))
    with audit.origin("command rollout", remote_address="10.0.0.9"):
        assert rollouts.resume(rollout, acting_user=None).status == "completed"
    entry = AuditEntry.objects.get(action="rollout.complete")
    assert (entry.actor, entry.remote_address) == ("system", "")
    assert AuditEntry.objects.get(action="rollout.resume").actor == "command rollout"


# --- pauses ----------------------------------------------------------------------------------------------------------


def test_a_resumed_stage_has_its_whole_time_again(home: Organization) -> None:
    rollout = begin(home, 25, stage_timeout_seconds=60)
    rollouts.pause(rollout, acting_user=None)
    Rollout.objects.filter(pk=rollout.pk).update(stage_started_at=timezone.now() - timedelta(hours=1))
    rollouts.resume(rollout, acting_user=None)
    later(59)
    assert again(rollout).status == "running"
    later(61)
    assert again(rollout).status == "halted"


def test_a_resumed_stage_is_watched_for_its_whole_soak_again(home: Organization) -> None:
    rollout = begin(home, 25, soak_seconds=60)
    report(running(2))
    rollouts.pause(rollout, acting_user=None)
    Rollout.objects.filter(pk=rollout.pk).update(settled_at=timezone.now() - timedelta(hours=1))
    assert rollouts.resume(rollout, acting_user=None).stage == 0
    later(59)
    assert again(rollout).stage == 0
    later(61)
    assert again(rollout).stage == 1


def test_who_was_lost_in_a_pause_counts_and_who_was_silent_does_not(home: Organization) -> None:
    rollout = begin(home, 25, max_failed_percent=20)
    members = running(2)
    rollouts.pause(rollout, acting_user=None)
    lost = timezone.now() - timedelta(hours=1)
    Instance.objects.filter(pk=members[0].pk).update(is_connected=False, config_lost_at=lost)
    later(1000)
    assert again(rollout).status == "paused"
    Instance.objects.filter(pk=members[1].pk).update(is_connected=False, config_lost_at=lost)
    later(1000)
    assert again(rollout).status == "halted"
