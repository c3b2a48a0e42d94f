"""Rollouts of versions that stop orchestrators before they say anything, and restarts of ours that are no failure."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from orchestrators import configuration, nodes, presence, registration
from orchestrators.claims import Claim
from orchestrators.configuration import progress, rollouts
from orchestrators.models import Instance, Node, Rollout
from orchestrators.presence import Ended
from orchestrators.registration import Grant
from orchestrators.tests import rolling
from orchestrators.tests.rolling import NEW, again, begin, later, released, report, running
from orgs.models import Organization

NODE = "host:1:abc"


@pytest.fixture
def home(db: None, settings: Any) -> Organization:
    """The fleet, its sessions held by one process of ours."""
    settings.ALLOW_ANONYMOUS_REGISTRATION = True
    home = rolling.settle()
    beat(age_seconds=0)
    long_ago = timezone.now() - timedelta(hours=1)
    for row in Instance.objects.all():
        Instance.objects.filter(pk=row.pk).update(node=NODE, session_id=f"old-{row.pk}", connected_at=long_ago)
    return home


def beat(*, age_seconds: float) -> None:
    at = timezone.now() - timedelta(seconds=age_seconds)
    defaults = {"hostname": "host", "pid": 1, "started_at": at, "beat_at": at}
    Node.objects.update_or_create(node_id=NODE, defaults=defaults)


def crash(rows: Sequence[Instance], reason: str = "connection lost") -> None:
    """End sessions as the hub does."""
    fresh = Instance.objects.filter(pk__in=[row.pk for row in rows])
    presence.end([Ended(row.pk, row.session_id, reason, reason == "goodbye") for row in fresh])


def come_back(rows: Sequence[Instance], name: str = "new") -> None:
    """Register, as a client that kept no configuration."""
    claims = [
        Claim(row.orchestrator_id, "", "", "", "", ("config",), False, "", {}, "", f"{name}-{row.pk}", NODE)
        for row in rows
    ]
    assert all(isinstance(answer, Grant) for answer in registration.register(claims))


def ago(**ended: Any) -> None:
    """Move what is known of sessions into the past."""
    at = timezone.now() - timedelta(**ended)
    Instance.objects.filter(config_lost_at__isnull=False).update(config_lost_at=at)


@pytest.mark.parametrize("word", ["", "applying"])
@pytest.mark.parametrize("reason", ["connection lost", "goodbye", "heartbeat_timeout"])
def test_a_version_that_stops_orchestrators_before_they_answer_halts(
    home: Organization, reason: str, word: str
) -> None:
    rollout = begin(home, 25, soak_seconds=900)
    members = running(2)
    if word:
        report(members, word)
    crash(members, reason)
    later(30)
    assert (again(rollout).status, progress.of(again(rollout)).lost) == ("running", 5), "they may come back"
    later(61)
    assert (again(rollout).status, again(rollout).reason) == ("halted", "5 of 5 failed, 5 of them without an answer.")
    assert running(2) == []


def test_a_plain_change_that_stops_orchestrators_is_taken_back(home: Organization) -> None:
    configuration.publish(home, NEW, acting_user=None)
    crash(running(2)[:3])
    report(running(2)[3:])
    later(61)
    assert released(home) == rolling.OLD


def test_who_never_answers_undoes_no_plain_change_by_going_away(home: Organization) -> None:
    Instance.objects.update(config_reported_hash="")
    configuration.publish(home, NEW, acting_user=None)
    crash(running(2))
    later(299)
    assert (released(home), progress.of(Rollout.objects.latest("pk")).lost) == (NEW, 20)
    later(361)
    assert (Rollout.objects.latest("pk").status, released(home)) == ("completed", NEW)


def test_an_orchestrator_that_is_started_again_and_again_is_lost_since_the_first_time(home: Organization) -> None:
    rollout = begin(home, 25)
    members = running(2)
    for turn in range(3):
        crash(members)
        ago(seconds=20 * turn)
        first = set(Instance.objects.filter(config_lost_at__isnull=False).values_list("config_lost_at", flat=True))
        come_back(members, f"turn-{turn}")
        assert progress.of(again(rollout)).waiting == 5
    crash(members)
    assert (
        set(Instance.objects.filter(pk__in=[row.pk for row in members]).values_list("config_lost_at", flat=True))
        == first
    )
    later(25)
    assert again(rollout).status == "halted"


def test_who_comes_back_and_applies_it_is_not_lost(home: Organization) -> None:
    rollout = begin(home, 25)
    members = running(2)
    crash(members)
    come_back(members)
    report(members)
    assert (again(rollout).stage, progress.of(again(rollout)).lost) == (1, 0)
    later(61)
    crash(members, "goodbye")
    come_back(members, "third")
    assert not Instance.objects.filter(config_lost_at__isnull=False).exists(), "that one had been applied"


def test_who_was_offline_before_it_was_given_stays_offline(home: Organization) -> None:
    crash(rolling.fleet())
    rollout = begin(home, 25, stage_timeout_seconds=60)
    later(61)
    assert (again(rollout).stage, progress.of(again(rollout)).offline) == (1, 20)
    assert progress.of(again(rollout)).lost == 0


def test_who_was_lost_over_an_older_version_is_offline_for_a_newer_one(home: Organization) -> None:
    configuration.publish(home, NEW, acting_user=None)
    crash(running(2))
    configuration.publish(home, {"features": {"n": 3}}, acting_user=None)
    later(299)
    assert released(home) == {"features": {"n": 3}}


def test_a_loss_just_before_the_time_out_is_waited_for(home: Organization) -> None:
    rollout = begin(home, 25, stage_timeout_seconds=60)
    members = running(2)
    report(members[:4], "applied")
    Instance.objects.filter(pk=members[4].pk).update(config_status="applying")
    crash(members[4:])
    Instance.objects.filter(pk=members[4].pk).update(config_lost_at=timezone.now() + timedelta(seconds=50))
    later(61)
    assert (again(rollout).status, again(rollout).stage) == ("running", 0)
    later(111)
    assert again(rollout).status == "halted"


@pytest.mark.parametrize("word", ["", "applying"])
def test_a_killed_process_of_ours_is_no_failure(home: Organization, word: str) -> None:
    rollout = begin(home, 25, stage_timeout_seconds=60)
    members = running(2)
    if word:
        report(members, word)
    now = timezone.now()
    Node.objects.update(beat_at=now + timedelta(seconds=30))  # killed there: what it held looks connected for a while
    later(61)
    assert (again(rollout).status, again(rollout).stage) == ("running", 0)
    nodes.clear([NODE], now=now)
    assert (progress.of(again(rollout)).lost, progress.of(again(rollout)).offline) == (0, 5)
    beat(age_seconds=-60)
    come_back(members)
    Instance.objects.filter(pk__in=[row.pk for row in members]).update(connected_at=now + timedelta(seconds=58))
    later(62)
    assert (again(rollout).status, again(rollout).stage) == ("running", 0), "they have just been given it"
    report(members)
    assert again(rollout).stage == 1


@pytest.mark.parametrize("reason", ["server_shutdown", "unauthenticated", "organization_suspended", "internal_error"])
def test_a_session_that_we_ended_is_no_failure(home: Organization, reason: str) -> None:
    rollout = begin(home, 25)
    crash(running(2), reason)
    later(61)
    assert (again(rollout).status, progress.of(again(rollout)).offline) == ("running", 5)


def test_a_socket_that_replaces_another_of_the_same_orchestrator_ended_the_older_one(home: Organization) -> None:
    begin(home, 25)
    members = running(2)
    come_back(members)
    assert Instance.objects.filter(config_lost_at__isnull=False).count() == 5
    report(members)
    come_back(members, "third")
    assert not Instance.objects.filter(pk__in=[row.pk for row in members], config_lost_at__isnull=False).exists()


def test_older_clients_that_go_away_are_offline(home: Organization) -> None:
    Instance.objects.update(is_acknowledging=False)
    rollout = rollouts.start(home, NEW, wanted=[{"percent": 25}], soak_seconds=900, acting_user=None)
    crash(running(2))
    assert (progress.of(again(rollout)).lost, progress.of(again(rollout)).offline) == (0, 5)
