"""Configuration: desired, reported and its status are three facts; what is current is not sent again."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from moolai.testing.world import World
from orchestrators import configuration, instances
from orchestrators.models import Instance
from orchestrators.tests.live import Live, Peer, eventually, running
from orgs.models import Event, Organization

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker) as found:
        yield found
        found.hang_up()


def change(live: Live, orchestrator_id: str, **fields: Any) -> Instance:
    return instances.update(live.row(orchestrator_id), acting_user=None, **fields)


def report(peer: Peer, config_hash: str, status: str, **fields: Any) -> None:
    peer.send({"type": "config_status", "config_hash": config_hash, "status": status, **fields})


def test_a_change_is_pushed_whole_with_the_next_version(live: Live) -> None:
    peer = live.register("orch-push", key=live.key())
    first = peer.seen[-1]
    change(live, "orch-push", features={"beta": True}, privacy_mode=True)
    update = peer.take("config_update")
    assert set(update) == {"type", "message_id", "version", "config_hash", "config", "data"}
    assert update["data"] == update["config"]
    assert update["version"] == first["version"] + 1
    assert update["config_hash"] != first["config_hash"]
    assert update["config"] == first["config"] | {"features": {"beta": True}, "privacy_mode": True}
    row = live.row("orch-push")
    assert (row.config_hash, row.config_version, row.config_status) == (
        update["config_hash"],
        update["version"],
        "pending",
    )


def test_desired_reported_and_status_are_three_facts(live: Live) -> None:
    peer = live.register("orch-facts", key=live.key())
    desired = peer.seen[-1]["config_hash"]
    for status, error in (("applying", ""), ("failed", "no such feature"), ("applied", "")):
        report(peer, desired, status, error=error)
        assert eventually(lambda status=status: live.row("orch-facts").config_status == status)  # type: ignore[misc]
        row = live.row("orch-facts")
        assert (row.config_hash, row.config_reported_hash, row.config_error) == (desired, desired, error)
    assert row.config_reported_at is not None
    kinds = Event.objects.filter(orchestrator_id="orch-facts", kind__startswith="config.").order_by("id")
    assert list(kinds.values_list("kind", flat=True)) == ["config.applying", "config.failed", "config.applied"]
    change(live, "orch-facts", features={"x": 1})
    row = live.row("orch-facts")
    assert (row.config_status, row.config_reported_hash) == ("pending", desired)
    assert row.config_hash != desired


def test_a_late_report_on_an_older_config_does_not_cover_the_newer_one(live: Live) -> None:
    peer = live.register("orch-late", key=live.key())
    old = peer.seen[-1]["config_hash"]
    change(live, "orch-late", features={"x": 1})
    new = peer.take("config_update")["config_hash"]
    report(peer, old, "applied")
    report(peer, new, "applying")
    assert eventually(lambda: live.row("orch-late").config_status == "applying")
    report(peer, old, "failed", error="old")
    assert peer.is_open()
    time.sleep(0.3)
    assert live.row("orch-late").config_status == "applying"


def test_who_reports_the_desired_hash_is_not_sent_it_again(live: Live) -> None:
    key = live.key()
    first = live.register("orch-same", key=key)
    desired = first.seen[-1]["config_hash"]
    first.close()
    again = live.register("orch-same", key=key, config_hash=desired)
    assert again.nothing(0.4) == []
    assert live.row("orch-same").config_status == "applied"
    again.close()
    stale = live.peer(Authorization=f"Bearer {key}")
    stale.send({"type": "register", "orchestrator_id": "orch-same", "capabilities": ["x"], "config_hash": "sha256:old"})
    assert stale.recv()["success"] is True
    assert stale.recv()["config_hash"] == desired
    row = live.row("orch-same")
    assert (row.config_reported_hash, row.config_status) == ("sha256:old", "pending")


def test_versions_never_go_back_and_the_last_change_arrives(live: Live) -> None:
    peer = live.register("orch-many", key=live.key())
    for number in range(12):
        change(live, "orch-many", features={"n": number})
    versions = [peer.seen[-1]["version"]]
    while True:
        update = peer.take("config_update")
        versions.append(update["version"])
        if update["config"]["features"] == {"n": 11}:
            break
    assert versions == sorted(set(versions))
    assert versions[-1] == live.row("orch-many").config_version
    assert peer.nothing(0.5, of="config_update") == []


def test_changed_while_offline_comes_as_provisioning(live: Live) -> None:
    key = live.key()
    peer = live.register("orch-off", key=key)
    known = peer.seen[-1]["config_hash"]
    peer.close()
    change(live, "orch-off", session_config={"timeout": 5})
    peer = live.peer(Authorization=f"Bearer {key}")
    peer.send({"type": "register", "orchestrator_id": "orch-off", "capabilities": ["x"], "config_hash": known})
    peer.recv()
    assert peer.recv()["config"]["session"] == {"timeout": 5}


def test_registering_under_a_new_name_is_a_new_config_and_the_same_again_is_not(live: Live) -> None:
    key = live.key()
    versions = []
    for _ in range(3):
        peer = live.register("orch-stable", key=key, name="A name")
        versions.append(peer.seen[-1]["version"])
        peer.close()
    assert len(set(versions)) == 1


def test_the_organizations_base_lies_under_the_instances_own_values(live: Live) -> None:
    base = {"features": {"a": 1, "b": 1}, "llm": {"model": "m"}, "privacy_mode": True, "extra": [1]}
    Organization.objects.create(organization_id="based", name="Based", settings={"config": base})
    instances.create("orch-based", organization=live.organization("based"), acting_user=None, features={"b": 2})
    config = live.register("orch-based", key=live.key("based")).seen[-1]["config"]
    assert config["features"] == {"a": 1, "b": 2}
    assert (config["llm"], config["privacy_mode"], config["extra"]) == ({"model": "m"}, True, [1])


def test_the_hash_depends_on_content_and_not_on_key_order() -> None:
    assert configuration.digest({"a": 1, "b": {"c": 2, "d": 3}}) == configuration.digest(
        {"b": {"d": 3, "c": 2}, "a": 1}
    )
    assert configuration.digest({"a": 1}) != configuration.digest({"a": 2})
