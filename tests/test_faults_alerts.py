"""Faults under alerts: workers and web killed at random, receivers that are down, slow or refuse for a while.

Receivers are local and shaped like the real ones. Alerts are made as the engine makes them: a row, and `enqueue` in its
transaction, in the web process's and the worker's own database.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from monitoring.tests import receivers
from monitoring.tests.receivers import Mailbox, Receiver
from moolai.testing.processes import wait_until
from moolai.testing.product import Installation, ServerProcess

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
Install = Callable[..., Installation]
LEASE_SECONDS = 30  # the bound of F3; claims.LEASE_SECONDS lies below
ALERTS = 500

CHANNELS = """
import json, sys
from monitoring.alerts import channels
from orgs import organizations
home = organizations.create("acme", name="Acme", acting_user=None)
for number, wish in enumerate(json.loads(WISHES)):
    channels.create(home, name=f"channel {number}", min_severity="info", acting_user=None, **wish)
"""
TRIGGER = """
import time
from django.db import transaction
from django.utils import timezone
from monitoring.alerts import outbox
from monitoring.models import Alert
for number in range(FIRST, LAST):
    with transaction.atomic():
        now = timezone.now()
        alert = Alert.objects.create(dedup_key=f"acme:{number}", organization_id="acme", alert_type="cpu",
            severity="error", title=f"alert {number}", started_at=now, last_seen_at=now)
        outbox.enqueue(alert, "trigger")
    time.sleep(PAUSE)
"""
RESOLVE = """
from django.db import transaction
from django.utils import timezone
from monitoring.alerts import outbox
from monitoring.models import Alert
for alert in Alert.objects.filter(dedup_key__in=[f"acme:{number}" for number in range(FIRST, LAST)]).order_by("pk"):
    with transaction.atomic():
        Alert.objects.filter(pk=alert.pk).update(status="resolved", resolved_at=timezone.now())
        outbox.enqueue(Alert.objects.get(pk=alert.pk), "resolve")
"""
OPEN = """
import json
from django.db.models import Count
from monitoring.models import Delivery
print("STATES", json.dumps(dict(Delivery.objects.order_by().values_list("status").annotate(n=Count("pk")))))
"""


@dataclass
class Town:
    """All receivers, and the installation that tells them."""

    place: Installation
    slack: Receiver
    pagerduty: Receiver
    hook: Receiver
    mail: Mailbox

    def run(self, script: str, **names: Any) -> str:
        head = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        return self.place.manage("shell", "--no-imports", "-c", head + script).stdout

    def states(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self.run(OPEN).rpartition("STATES")[2])
        return found

    def settled(self, *, timeout_seconds: float) -> bool:
        """Wait until nothing is pending; asking costs a process, so it is asked once the receivers have gone quiet."""
        until = time.monotonic() + timeout_seconds
        while time.monotonic() < until:
            before = self.count()
            time.sleep(5)
            if self.count() == before and "pending" not in self.states():
                return True
        return False

    def count(self) -> int:
        return len(self.mail.mails) + sum(len(one.taken) for one in (self.slack, self.pagerduty, self.hook))

    def slack_keys(self) -> dict[str, list[str]]:
        """Return {alert's title: what Slack was told of it}; its messages carry no key."""
        found: dict[str, list[str]] = {}
        for one in self.slack.taken:
            word, _, title = one.body["text"].partition(" ")[2].partition(": ")
            found.setdefault(title, []).append({"Firing": "trigger", "Resolved": "resolve"}[word])
        return found

    def books(self) -> dict[str, dict[str, list[str]]]:
        return {
            "slack": self.slack_keys(),
            "pagerduty": self.pagerduty.keys(),
            "hook": self.hook.keys(),
            "mail": self.mail.keys(),
        }


@pytest.fixture
def town(installation: Install) -> Iterator[Town]:
    with ExitStack() as stack:
        slack, pagerduty, hook = (stack.enter_context(receivers.http()) for _ in range(3))
        mail = stack.enter_context(receivers.mailbox())
        place = installation(
            env={
                "OUTBOUND_ALLOWED_CIDRS": "127.0.0.0/8",
                "PAGERDUTY_BASE_URL": pagerduty.url(""),
                "EMAIL_URL": f"smtp://127.0.0.1:{mail.port}",
            }
        )
        yield Town(place, slack, pagerduty, hook, mail)
        place.close()


def open_channels(town: Town, *kinds: str) -> None:
    wishes = {
        "slack": {"kind": "slack", "url": town.slack.url("/services/T/B/x")},
        "pagerduty": {"kind": "pagerduty", "secret": "R" * 32},
        "hook": {"kind": "webhook", "url": town.hook.url(), "secret": "s" * 20},
        "mail": {"kind": "email", "recipients": ["ops@example.com"]},
    }
    town.run(CHANNELS, WISHES=json.dumps([wishes[kind] for kind in kinds]))


def kill_meanwhile(work: Callable[[], Any], victims: list[ServerProcess], *, at_least: int) -> int:
    """Kill -9 one of the processes after another at random moments while `work` is done; return how many kills.

    The work is in the other thread: a process started by a thread dies with that thread (moolai/testing/leash.py).
    """
    chance, kills = random.Random(5), 0
    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive() or kills < at_least:
        time.sleep(chance.uniform(0.5, 3))
        victim = chance.choice(victims)
        victim.kill()
        kills += 1
        victim.start()
    worker.join()
    return kills


def test_every_alert_arrives_and_none_after_its_end_while_workers_and_web_are_killed(town: Town) -> None:
    open_channels(town, "slack", "pagerduty", "hook", "mail")
    for receiver in (town.slack, town.pagerduty, town.hook):
        receiver.behave(200, delay_seconds=0.05)
    town.place.beat()
    worker, other, web = town.place.worker(), town.place.worker(), town.place.serve()

    def work() -> None:
        town.run(TRIGGER, FIRST=0, LAST=ALERTS, PAUSE=0.02)
        everybody = lambda: all(len(book) == ALERTS for book in town.books().values())  # noqa: E731
        wait_until(everybody, timeout_seconds=240, interval_seconds=1)
        town.run(RESOLVE, FIRST=0, LAST=ALERTS // 2)

    kills = kill_meanwhile(work, [worker, other, web], at_least=8)
    assert town.settled(timeout_seconds=300), town.states()
    told = town.run(OPEN)
    town.run(RESOLVE, FIRST=ALERTS // 2, LAST=ALERTS)
    assert town.settled(timeout_seconds=300), town.states()
    for name, book in town.books().items():
        doubled = sum(max(0, actions.count("trigger") - 1) for actions in book.values())
        print(f"{name}: {len(book)} alerts, {doubled} triggers more than once, {kills} kills; {told.strip()}")  # noqa: T201
        assert len(book) == ALERTS, name
        assert all({"trigger", "resolve"} <= set(actions) for actions in book.values()), name
        late = {key for key, actions in book.items() if "trigger" in actions[actions.index("resolve") :]}
        assert late == set(), name
    assert town.states() == {"delivered": 2 * 4 * ALERTS}


def test_f3_a_worker_killed_inside_a_send_costs_a_repetition_at_most(town: Town) -> None:
    open_channels(town, "hook")
    town.hook.behave(200, delay_seconds=2)
    town.place.beat()
    worker = town.place.worker()
    began = time.monotonic()
    town.run(TRIGGER, FIRST=0, LAST=1, PAUSE=0)
    assert wait_until(lambda: town.hook._at_once == 1, timeout_seconds=15)
    time.sleep(1)
    worker.kill()
    killed = time.monotonic()
    town.place.worker()
    assert wait_until(lambda: "pending" not in town.states(), timeout_seconds=LEASE_SECONDS + 15)
    received = [taken.at for taken in town.hook.taken]
    print(f"received {len(received)} times, the last {max(received) - killed:.1f} s after the kill")  # noqa: T201
    assert 1 <= len(received) <= 2
    assert max(received) - killed <= LEASE_SECONDS + 5
    assert town.hook.keys().keys() == {"acme:0"}
    assert max(received) > began


@pytest.mark.parametrize("harm", ["down", "429", "slow"])
def test_f33_a_receiver_in_trouble_delays_only_itself_and_is_told_once_it_is_back(town: Town, harm: str) -> None:
    open_channels(town, "slack", "hook", "mail")
    answers = {"down": (503, 0.0, {}), "429": (429, 0.0, {"Retry-After": "12"}), "slow": (200, 8.0, {})}
    status, delay, headers = answers[harm]
    town.hook.behave(status, delay_seconds=delay, **headers)
    town.place.beat()
    town.place.worker()
    began = time.monotonic()
    town.run(TRIGGER, FIRST=0, LAST=20, PAUSE=0)
    assert wait_until(lambda: len(town.slack.taken) >= 20 and len(town.mail.mails) >= 20, timeout_seconds=20)
    took = max(taken.at for taken in town.slack.taken) - began
    early = [taken.at for taken in town.hook.refused]
    if harm == "429":
        time.sleep(6)
        assert len(town.hook.refused) <= 4, "Retry-After was not kept"
    town.hook.behave(200)
    back = time.monotonic()
    assert wait_until(lambda: len(town.hook.keys()) == 20, timeout_seconds=60)
    print(f"{harm}: the others told in {took:.1f} s; told {time.monotonic() - back:.1f} s after it was back")  # noqa: T201
    assert took <= 15  # a process that starts is part of it
    assert early is not None
    assert town.settled(timeout_seconds=30)
