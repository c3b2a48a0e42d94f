"""An incident of the installation as each organization hears of it: its own share, and nothing of the others."""

import json
import re
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest

from monitoring.alerts import channels, handling, rules
from monitoring.models import Alert, Channel, Delivery
from monitoring.tests.alert_stage import Beat, fleet, organization
from monitoring.tests.test_alert_incidents import SOON
from orgs.models import Organization
from orgs.tests.cast import person

pytestmark = pytest.mark.django_db
WHOLE, ALPHA, BETA, GAMMA = (
    "fleet_offline/-/-",
    "fleet_offline/alpha/-",
    "fleet_offline/beta/-",
    "fleet_offline/gamma/-",
)
Told = dict[str, list[tuple[str, str]]]


@pytest.fixture
def beat(db: None) -> Beat:
    channel(None)
    return Beat()


def channel(home: Organization | None) -> None:
    """Make a channel that hears everything, named as its organization."""
    name = home.pk if home else "installation"
    wish: dict[str, Any] = {"kind": "email", "recipients": ["ops@example.com"], "min_severity": "info"}
    channels.create(home, name=name, acting_user=None, **wish)


def home(name: str) -> Organization:
    found = organization(name)
    channel(found)
    return found


def told() -> Told:
    """Deliver what waits, and return {channel: [(action, dedup key)]} of what was ever told, in order."""
    Delivery.objects.filter(status="pending").update(status="delivered", may_have_arrived=True)
    found: Told = defaultdict(list)
    names = dict(Channel.objects.values_list("pk", "name"))
    for row in Delivery.objects.exclude(status="dropped").order_by("pk"):
        found[names[row.channel_id]].append((row.action, row.dedup_key))
    return dict(found)


def test_each_organization_is_told_of_its_own_share_once_and_the_superadmin_of_the_whole(beat: Beat) -> None:
    names = [name for word in ("alpha", "beta") for name in fleet(home(word), 10, now=beat.heard)]
    calm = fleet(home("gamma"), 50, now=beat.heard)
    home("bystander")
    beat.run(SOON + 30, beating=calm[1:])
    expected: Told = {"installation": [("trigger", WHOLE)]}
    expected |= {word: [("trigger", f"fleet_offline/{word}/-")] for word in ("alpha", "beta", "gamma")}
    assert told() == expected
    shares = {row.organization_id: row for row in Alert.objects.filter(parent__dedup_key=WHOLE)}
    assert {word: (row.severity, row.children.count()) for word, row in shares.items()} == {
        "alpha": ("critical", 11), "beta": ("critical", 11), "gamma": ("error", 1),  # “no orchestrator is left” is one
    }  # fmt: skip
    written = json.dumps([row.notice for row in Delivery.objects.filter(organization_id="alpha")])
    written += json.dumps([shares["alpha"].timeline, shares["alpha"].detail])
    assert "10 of the orchestrators of alpha are dark, together with others of the installation." in written
    assert not [word for word in ("beta", "gamma") if word in written]
    assert set(re.findall(r"\d+", shares["alpha"].detail)) == {"10"}
    handling.acknowledge(shares["alpha"], acting_user=None)
    assert told()["alpha"] == [("trigger", ALPHA), ("acknowledge", ALPHA)]
    beat.run(200, beating=[*names, *calm])
    assert set(Alert.objects.values_list("status", flat=True)) == {"resolved"}
    expected["alpha"].append(("acknowledge", ALPHA))
    assert told() == {
        who: [*lines, ("resolve", WHOLE if who == "installation" else f"fleet_offline/{who}/-")]
        for who, lines in expected.items()
    }


@pytest.mark.once("postgres")
def test_an_organization_that_was_told_already_is_told_nothing_new_when_others_follow(beat: Beat) -> None:
    fleet(home("alpha"), 10, now=beat.heard)
    fleet(home("beta"), 10, now=beat.heard + timedelta(seconds=100))
    beat.run(SOON + 30)
    assert told() == {"alpha": [("trigger", ALPHA)], "installation": [("trigger", ALPHA)]}
    beat.run(90)
    assert told() == {
        "alpha": [("trigger", ALPHA)],
        "beta": [("trigger", BETA)],
        "installation": [("trigger", ALPHA), ("resolve", ALPHA), ("trigger", WHOLE)],
    }


@pytest.mark.once("postgres")
def test_a_share_ends_with_its_organizations_trouble_and_the_incident_goes_on(beat: Beat) -> None:
    names = fleet(home("alpha"), 10, now=beat.heard)
    fleet(home("beta"), 10, now=beat.heard)
    beat.run(SOON + 30)
    beat.run(100, beating=names[1:])
    assert told()["alpha"] == [("trigger", ALPHA)]
    beat.run(100, beating=names)
    assert told()["alpha"] == [("trigger", ALPHA), ("resolve", ALPHA)]
    assert told()["installation"] == [("trigger", WHOLE)]
    handling.resolve(Alert.objects.get(dedup_key=WHOLE), acting_user=None)
    beat.run(100, beating=names)
    assert told()["beta"][:2] == [("trigger", BETA), ("resolve", BETA)]
    assert told()["installation"][:2] == [("trigger", WHOLE), ("resolve", WHOLE)]


@pytest.mark.once("postgres")
def test_who_joins_an_incident_makes_its_organizations_share_or_makes_it_worse(beat: Beat) -> None:
    alpha = [name for word in ("alpha", "beta") for name in fleet(home(word), 10, now=beat.heard)]
    gamma = fleet(home("gamma"), 20, now=beat.heard)
    late = fleet(home("delta"), 1, now=beat.heard)
    beat.run(SOON + 30, beating=[*gamma[1:], *late])
    assert Alert.objects.get(dedup_key=GAMMA).severity == "error"
    beat.run(160)
    assert Alert.objects.get(dedup_key=GAMMA).severity == "critical"
    assert told()["gamma"] == [("trigger", GAMMA), ("escalate", GAMMA)]
    assert told()["delta"] == [("trigger", "fleet_offline/delta/-")]
    assert told()["installation"] == [("trigger", WHOLE)]
    beat.run(200, beating=[*alpha, *gamma[3:], *late])
    remaining = [("trigger", f"orchestrator_inactive/gamma/gamma-{number}") for number in range(3)]
    assert told()["gamma"][2] == ("resolve", GAMMA)
    assert sorted(told()["gamma"][3:]) == remaining
    assert told()["installation"][:2] == [("trigger", WHOLE), ("resolve", WHOLE)]
    assert sorted(told()["installation"][2:]) == remaining


@pytest.mark.once("postgres")
def test_a_member_sees_its_share_and_not_the_incident(beat: Beat) -> None:
    alpha = home("alpha")
    fleet(alpha, 10, now=beat.heard)
    fleet(home("beta"), 10, now=beat.heard)
    beat.run(SOON + 30)
    vera = person(alpha, role="viewer")
    rows = vera.get("/api/v1/system/alerts?alert_type=fleet_offline").json()["data"]["items"]
    assert [row["dedup_key"] for row in rows] == [ALPHA]
    whole = Alert.objects.get(dedup_key=WHOLE)
    assert vera.get(f"/api/v1/system/alerts/{whole.alert_id}").status_code == 404
    overview = vera.get("/api/v1/controller/overview").json()["data"]
    assert overview["alerts_open"] == 1, overview
    assert "beta" not in vera.get(f"/api/v1/system/alerts/{rows[0]['alert_id']}").content.decode()


@pytest.mark.once("postgres")
def test_who_switched_the_rule_off_has_no_share(beat: Beat) -> None:
    fleet(home("alpha"), 10, now=beat.heard)
    fleet(home("beta"), 10, now=beat.heard)
    fleet(home("gamma"), 10, now=beat.heard)
    rules.create("fleet_offline", organization_id="gamma", is_enabled=False, acting_user=None)
    beat.run(SOON + 30)
    assert told() == {
        "alpha": [("trigger", ALPHA)],
        "beta": [("trigger", BETA)],
        "installation": [("trigger", WHOLE)],
    }
