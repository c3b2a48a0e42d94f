"""The frames that configurations travel in: their long part is there once for a whole fleet."""

import json

from orchestrators import configuration, instances
from orgs import organizations


def test_a_fleet_shares_the_text_of_its_configuration_until_it_is_sent(db: None) -> None:
    home = organizations.create("big", name="Big", acting_user=None, settings={"config": {"a": ["x" * 1000] * 50}})
    for number in range(4):
        own = {"beta": True} if number == 3 else {}
        instances.create(f"big-{number}", organization=home, acting_user=None, features=own)
    rows = configuration.readable([f"big-{number}" for number in range(4)])
    rows.sort(key=lambda row: row.orchestrator_id)
    found = configuration.bodies(rows)
    assert len({id(body.shared) for body in found[:3]}) == 1
    assert found[3].shared != found[0].shared
    for row, body in zip(rows, found, strict=True):
        frame = json.loads(configuration.head(row.config_version, is_update=True) + body.text())
        assert frame["config"] == frame["data"] == row.config_document()
        assert (frame["version"], configuration.digest(frame["config"])) == (row.config_version, frame["config_hash"])


def test_rows_read_before_and_after_a_change_have_each_their_own_text(db: None) -> None:
    home = organizations.create("acme", name="Acme", acting_user=None, settings={"config": {"level": 1}})
    for name in ("a", "b"):
        instances.create(name, organization=home, acting_user=None)
    before = configuration.readable(["a"])
    configuration.publish(home, {"level": 2}, acting_user=None)
    rows = [*before, *configuration.readable(["b"])]
    for row, body in zip(rows, configuration.bodies(rows), strict=True):
        frame = json.loads(configuration.head(row.config_version, is_update=True) + body.text())
        assert configuration.digest(frame["config"]) == frame["config_hash"] == row.config_hash
