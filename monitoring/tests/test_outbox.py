"""The outbox: who is told of what, in which order, how often, and what a resolve does to what nobody was told yet."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from monitoring.alerts import channels, claims, dispatch, outbox
from monitoring.models import Alert, Channel, Delivery
from monitoring.tests import receivers
from monitoring.tests.receivers import Receiver
from orchestrators import retention
from orgs import organizations
from orgs.models import Organization

pytestmark = pytest.mark.django_db
SECRET = "s" * 20


class Place:
    """An organization with receivers and the channels to them."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.organization = organizations.create("org-001", name="One", acting_user=None)
        self.numbers = 0

    def receiver(self) -> Receiver:
        return self.stack.enter_context(receivers.http())

    def channel(self, url: str, *, whose: Organization | None = None, **wish: Any) -> Channel:
        self.numbers += 1
        given: dict[str, Any] = {
            "kind": "webhook",
            "name": f"hook {self.numbers}",
            "url": url,
            "secret": SECRET,
            **wish,
        }
        return channels.create(whose or self.organization, acting_user=None, **given)[0]

    def alert(self, key: str = "cpu", *, severity: str = "error", organization_id: str = "org-001") -> Alert:
        now = timezone.now()
        return Alert.objects.create(
            dedup_key=f"{organization_id}:{key}", organization_id=organization_id, alert_type="cpu", severity=severity,
            title=f"{key} is high", started_at=now, last_seen_at=now,
        )  # fmt: skip


@pytest.fixture
def place(db: None, settings: Any) -> Iterator[Place]:
    settings.OUTBOUND_ALLOWED_CIDRS = ["127.0.0.0/8"]
    with ExitStack() as stack:
        yield Place(stack)


def tell(alert: Alert, *actions: str, **options: Any) -> None:
    for action in actions:
        with transaction.atomic():
            outbox.enqueue(alert, action, **options)


def statuses() -> list[tuple[str, str]]:
    return list(Delivery.objects.order_by("pk").values_list("action", "status"))


def hurry() -> None:
    """Let time pass: nothing waits any more."""
    now = timezone.now()
    Delivery.objects.filter(status="pending").update(next_attempt_at=now, lease_until=None)
    Channel.objects.update(parked_until=None)


# --- who is told -----------------------------------------------------------------------------------------------------


def test_channels_of_the_organization_and_of_the_superadmin_are_told_by_severity(place: Place) -> None:
    other = organizations.create("org-002", name="Two", acting_user=None)
    here, url = place.receiver(), place.receiver().url()
    place.channel(here.url("/own"))
    place.channel(here.url("/critical"), min_severity="critical")
    place.channel(here.url("/off"), is_enabled=False)
    channels.create(None, kind="webhook", name="all", url=here.url("/all"), acting_user=None)
    place.channel(url, whose=other)
    tell(place.alert(), "trigger")
    tell(place.alert("disk", severity="info"), "trigger")
    tell(place.alert("redis", severity="critical", organization_id=""), "trigger")
    assert dispatch.drain() == 3
    told = sorted((taken.path, taken.body["alert"]["dedup_key"]) for taken in here.taken)
    assert told == [("/all", ":redis"), ("/all", "org-001:cpu"), ("/own", "org-001:cpu")]


def test_an_escalation_reaches_those_who_listen_to_the_worse_only_as_a_trigger(place: Place) -> None:
    here = place.receiver()
    place.channel(here.url("/all"))
    place.channel(here.url("/critical"), min_severity="critical")
    alert = place.alert()
    tell(alert, "trigger")
    dispatch.drain()
    alert.severity = "critical"
    tell(alert, "escalate")
    dispatch.drain()
    tell(alert, "acknowledge")
    dispatch.drain()
    tell(alert, "resolve")
    dispatch.drain()
    by_path = {path: [one.body["action"] for one in here.taken if one.path == path] for path in ("/all", "/critical")}
    assert by_path["/all"] == ["trigger", "escalate", "acknowledge", "resolve"]
    assert by_path["/critical"] == ["trigger", "acknowledge", "resolve"]


def test_what_is_told_is_the_alert_as_it_was(place: Place) -> None:
    here = place.receiver()
    place.channel(here.url())
    alert = place.alert()
    tell(alert, "trigger")
    Alert.objects.update(title="something else")
    dispatch.drain()
    assert here.taken[0].body["alert"]["title"] == "cpu is high"


# --- resolve ---------------------------------------------------------------------------------------------------------


def test_an_alert_that_ends_before_anybody_was_told_tells_nobody(place: Place) -> None:
    here = place.receiver()
    place.channel(here.url())
    alert = place.alert()
    tell(alert, "trigger", not_before=timezone.now() + timedelta(minutes=1))
    assert dispatch.drain() == 0
    tell(alert, "acknowledge", "resolve")
    hurry()
    assert dispatch.drain() == 0
    assert {status for _, status in statuses()} == {"dropped"}
    assert here.taken == []


def test_a_resolve_goes_only_where_the_trigger_went(place: Place) -> None:
    here, down = place.receiver(), place.receiver()
    place.channel(here.url())
    place.channel(down.url())
    down.behave(429)
    alert = place.alert()
    tell(alert, "trigger")
    dispatch.drain()
    tell(alert, "resolve")
    down.behave(200)
    hurry()
    dispatch.drain()
    assert here.keys() == {"org-001:cpu": ["trigger", "resolve"]}
    assert down.taken == []


def test_a_trigger_that_may_have_arrived_is_sent_again_before_the_resolve(place: Place) -> None:
    here = place.receiver()
    place.channel(here.url())
    here.behave(500)
    alert = place.alert()
    tell(alert, "trigger")
    dispatch.drain()
    tell(alert, "resolve")
    here.behave(200)
    hurry()
    dispatch.drain()
    assert here.keys() == {"org-001:cpu": ["trigger", "resolve"]}


def test_a_trigger_on_its_way_is_followed_by_its_resolve_or_dropped_with_it(place: Place) -> None:
    channel = place.channel(place.receiver().url())
    alert = place.alert()
    tell(alert, "trigger")
    (claim,) = claims.take(channel.pk, now=timezone.now())
    tell(alert, "resolve")
    assert statuses() == [("trigger", "pending"), ("resolve", "pending")]
    assert claims.take(channel.pk, now=timezone.now()) == []
    claims.postponed(claim, "no connection", now=timezone.now(), may_have_arrived=False)
    hurry()
    assert claims.take(channel.pk, now=timezone.now()) == []
    assert statuses() == [("trigger", "dropped"), ("resolve", "dropped")]


def test_an_alert_that_comes_back_is_told_again_under_the_same_key(place: Place) -> None:
    here = place.receiver()
    place.channel(here.url())
    alert = place.alert()
    tell(alert, "trigger", "acknowledge")
    dispatch.drain()
    tell(alert, "resolve", "trigger")
    dispatch.drain()
    tell(alert, "resolve")
    dispatch.drain()
    assert here.keys() == {"org-001:cpu": ["trigger", "acknowledge", "resolve", "trigger", "resolve"]}


def test_a_refused_trigger_has_no_resolve(place: Place) -> None:
    here = place.receiver()
    place.channel(here.url())
    here.behave(404)
    alert = place.alert()
    tell(alert, "trigger")
    dispatch.drain()
    here.behave(200)
    tell(alert, "acknowledge", "resolve")
    dispatch.drain()
    assert here.taken == []
    assert statuses() == [("trigger", "failed"), ("acknowledge", "dropped"), ("resolve", "dropped")]


# --- trying again ----------------------------------------------------------------------------------------------------


def test_a_failure_is_tried_again_with_the_same_delivery_id(place: Place) -> None:
    here = place.receiver()
    channel = place.channel(here.url())
    here.behave(503)
    tell(place.alert(), "trigger")
    dispatch.drain(seconds=0.2)
    channel.refresh_from_db()
    assert channel.last_error == "answered 503"
    here.behave(200)
    hurry()
    dispatch.drain()
    assert here.taken[0].body["delivery_id"] == here.refused[0].body["delivery_id"]
    channel.refresh_from_db()
    assert (channel.last_error, channel.failures, channel.parked_until) == ("", 0, None)
    assert channel.last_ok_at is not None


def test_retry_after_leaves_the_whole_channel_alone(place: Place) -> None:
    here = place.receiver()
    channel = place.channel(here.url())
    here.behave(429, Retry_After="120")
    for number in range(3):
        tell(place.alert(str(number)), "trigger")
    dispatch.drain()
    assert len(here.refused) <= claims.PARALLEL
    channel.refresh_from_db()
    assert channel.parked_until is not None
    assert 110 < (channel.parked_until - timezone.now()).total_seconds() < 125
    count = len(here.refused)
    assert dispatch.drain() == 0
    assert len(here.refused) == count


def test_a_refusal_for_good_fails_with_a_reason_and_marks_the_channel(place: Place) -> None:
    here = place.receiver()
    channel = place.channel(here.url())
    here.behave(410)
    tell(place.alert(), "trigger")
    dispatch.drain()
    row = Delivery.objects.get()
    assert (row.status, row.error, row.attempts) == ("failed", "answered 410", 1)
    channel.refresh_from_db()
    assert channel.last_error == "answered 410"


def test_a_channel_that_came_to_lie_inside_is_refused_when_it_is_called(place: Place, settings: Any) -> None:
    here = place.receiver()
    place.channel(here.url())
    settings.OUTBOUND_ALLOWED_CIDRS = []
    tell(place.alert(), "trigger")
    dispatch.drain()
    assert here.taken == []
    row = Delivery.objects.get()
    assert row.status == "failed"
    assert row.error.startswith("destination_not_allowed")


def test_after_a_day_it_is_given_up(place: Place) -> None:
    here = place.receiver()
    place.channel(here.url())
    tell(place.alert(), "trigger")
    Delivery.objects.update(expires_at=timezone.now())
    assert dispatch.drain() == 0
    assert statuses() == [("trigger", "expired")]


def test_a_failing_channel_is_asked_one_at_a_time(place: Place) -> None:
    channel = place.channel(place.receiver().url())
    for number in range(6):
        tell(place.alert(str(number)), "trigger")
    assert len(claims.take(channel.pk, now=timezone.now())) == claims.PARALLEL
    Delivery.objects.update(lease_until=None)
    Channel.objects.update(failures=1)
    assert len(claims.take(channel.pk, now=timezone.now())) == 1


@pytest.mark.once
def test_the_pause_grows_with_full_jitter_up_to_a_limit() -> None:
    for attempts, limit in ((1, 2), (3, 8), (50, claims.MAX_BACKOFF_SECONDS)):
        pauses = [claims.backoff(attempts) for _ in range(300)]
        assert max(pauses) <= limit
        assert max(pauses) > limit * 0.8
        assert min(pauses) < limit * 0.2
    assert 30 <= claims.backoff(1, retry_after_seconds=30) <= 31


# --- one at a time, and by one only ----------------------------------------------------------------------------------


def test_one_key_goes_one_at_a_time_and_in_order(place: Place) -> None:
    channel = place.channel(place.receiver().url())
    alert = place.alert()
    tell(alert, "trigger", "acknowledge")
    tell(place.alert("disk"), "trigger")
    first = claims.take(channel.pk, now=timezone.now())
    assert [(claim.delivery.action, claim.delivery.dedup_key) for claim in first] == [
        ("trigger", "org-001:cpu"), ("trigger", "org-001:disk"),
    ]  # fmt: skip
    assert claims.take(channel.pk, now=timezone.now()) == []
    claims.delivered(first[0], now=timezone.now())
    assert [claim.delivery.action for claim in claims.take(channel.pk, now=timezone.now())] == ["acknowledge"]


def test_a_lease_that_ended_is_taken_over_and_its_old_holder_settles_nothing(place: Place) -> None:
    channel = place.channel(place.receiver().url())
    tell(place.alert(), "trigger")
    now = timezone.now()
    (lost,) = claims.take(channel.pk, now=now)
    late = now + timedelta(seconds=claims.LEASE_SECONDS + 1)
    (taken,) = claims.take(channel.pk, now=late)
    assert claims.delivered(lost, now=late) is False
    assert claims.refused(lost, "late", now=late) is False
    assert Delivery.objects.get().holder == taken.holder
    assert claims.delivered(taken, now=late) is True


def test_a_slow_receiver_delays_only_itself(place: Place) -> None:
    slow, quick = place.receiver(), place.receiver()
    place.channel(slow.url())
    place.channel(quick.url())
    slow.behave(200, delay_seconds=0.7)
    for number in range(8):
        tell(place.alert(str(number)), "trigger")
    began = time.monotonic()
    assert dispatch.drain() == 16
    assert max(taken.at for taken in quick.taken) - began < 0.7
    assert slow.most_at_once <= claims.PARALLEL
    assert len(slow.keys()) == len(quick.keys()) == 8


def test_a_dead_receiver_delays_only_itself(place: Place, free_port: int) -> None:
    quick = place.receiver()
    place.channel(f"http://127.0.0.1:{free_port}/")
    place.channel(quick.url())
    for number in range(8):
        tell(place.alert(str(number)), "trigger")
    began = time.monotonic()
    dispatch.drain(seconds=3)
    assert len(quick.taken) == 8
    assert max(taken.at for taken in quick.taken) - began < 2


def test_a_process_drains_once_at_a_time(place: Place) -> None:
    here = place.receiver()
    place.channel(here.url())
    here.behave(200, delay_seconds=0.3)
    tell(place.alert(), "trigger")
    found: list[int] = []
    other = threading.Timer(0.1, lambda: found.append(dispatch.drain()))
    other.start()
    assert dispatch.drain() == 1
    other.join()
    assert found == [0]


# --- the rest --------------------------------------------------------------------------------------------------------


def test_the_worker_is_woken_with_the_commit(place: Place, django_capture_on_commit_callbacks: Any) -> None:
    place.channel(place.receiver().url())
    woken: list[bool] = []
    outbox.on_wake(lambda: woken.append(True))
    try:
        with django_capture_on_commit_callbacks(execute=True):
            tell(place.alert(), "trigger")
            assert woken == []
        assert woken == [True]
    finally:
        outbox._listeners.pop()


def test_switching_a_channel_off_drops_what_waits_for_it(place: Place) -> None:
    channel = place.channel(place.receiver().url())
    tell(place.alert(), "trigger")
    channels.update(channel, acting_user=None, is_enabled=False)
    assert statuses() == [("trigger", "dropped")]


def test_what_is_over_is_deleted_in_time(place: Place, settings: Any) -> None:
    place.channel(place.receiver().url())
    tell(place.alert(), "trigger")
    tell(place.alert("disk"), "trigger")
    dispatch.drain()
    tell(place.alert("new"), "trigger")
    old = timezone.now() - timedelta(days=settings.EVENT_RETENTION_DAYS + 1)
    Delivery.objects.exclude(status="pending").update(finished_at=old)
    assert retention.prune(now=timezone.now())["deliveries"] == 2
    assert Delivery.objects.count() == 1
