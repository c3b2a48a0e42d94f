"""The services beside the product, as docker-compose.yml starts them, and the rights of the files it writes."""

import os
import stat
from collections.abc import Callable

import pytest
import yaml

from moolai.testing.product import PROJECT, Installation

pytestmark = pytest.mark.once

COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]


def test_redis_asks_for_a_password_and_is_reached_from_inside_only() -> None:
    redis = SERVICES["redis"]
    assert "requirepass" in redis["command"][-1]
    assert redis["environment"]["REDISCLI_AUTH"].startswith("${REDIS_PASSWORD:?")
    assert "$$REDISCLI_AUTH" in redis["command"][-1], "the password is in no argument list"
    assert not {"ports", "network_mode", "expose"} & set(redis)
    url = COMPOSE["x-controller"]["environment"]["REDIS_URL"]
    assert url.startswith("redis://:${REDIS_PASSWORD:?")
    assert url.endswith("@redis:6379/0"), "a number of its own in a Redis of its own"


def test_postgresql_asks_for_a_password_and_is_reached_from_inside_only() -> None:
    postgres = SERVICES["postgres"]
    assert postgres["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    assert "POSTGRES_HOST_AUTH_METHOD" not in postgres["environment"]
    assert not {"ports", "network_mode", "expose"} & set(postgres)


@pytest.mark.services
def test_keys_heads_and_flags_are_readable_by_the_owner_only(installation: Callable[..., Installation]) -> None:
    before = os.umask(0o022)
    try:
        place = installation(env={"SECRET_KEY": "", "ENCRYPTION_KEY": ""})
        place.manage("create_organization", "org-001")
        place.manage("sync_independence")
        (place.data_dir / "backups").mkdir()
        place.manage("backup", str(place.data_dir / "backups"))
    finally:
        os.umask(before)
    names = ["secret_key", "encryption_key", "independence.env", "orchestrator_independence.json", "audit_heads.json"]
    private = [place.data_dir / name for name in names] + list((place.data_dir / "backups").glob("*.backup"))
    assert len(private) == len(names) + 1
    assert [path.name for path in private if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
