"""Faults of the web process: killed under load, two of them side by side, Redis gone under them."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from moolai.testing.postgres import Postgres
from moolai.testing.processes import wait_until
from moolai.testing.product import Installation
from moolai.testing.redis import Redis
from tests.fleet import TOKEN, Fleet, call, items, organization_key

SPEEDY = {"DEV_BEARER_TOKEN": TOKEN, "HEARTBEAT_TTL_SEC": "20", "HEARTBEAT_INTERVAL_SEC": "3", "LOG_LEVEL": "INFO"}
Install = Callable[..., Installation]


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_two_hundred_clients_survive_twenty_kills_of_the_web_process(installation: Install) -> None:
    place = installation(env=SPEEDY)
    key = organization_key(place)
    web = place.serve()
    place.worker()
    place.beat()
    slowest = 0.0
    with Fleet([web.ws_url()], key=key, count=200) as fleet:
        assert fleet.wait_connected(timeout_seconds=30)
        for kill in range(20):
            web.kill()
            web.start()
            began = time.monotonic()
            assert fleet.wait_connected(timeout_seconds=15), f"not all are back 15 s after kill {kill + 1}"
            slowest = max(slowest, time.monotonic() - began)
            live = {row["orchestrator_id"]: row["session_id"] for row in items(web.url(LIVE))}
            held = {client.orchestrator_id: client.session_id for client in fleet.clients}
            assert {key: value for key, value in live.items() if held.get(key) != value} == {}, "a stale session"
        assert wait_until(lambda: len(items(web.url(LIVE))) == 200, timeout_seconds=10)
        rows = items(web.url("/api/v1/controller/orchestrators"))
        assert {row["status"] for row in rows} == {"active"}
        assert "orchestrator.inactive" not in _event_kinds(place)
    print(f"all 200 back within {slowest:.1f} s of each of 20 restarts")  # noqa: T201 - the figure for the note


LIVE = "/api/v1/controller/orchestrators/live"


def _event_kinds(place: Installation) -> set[str]:
    script = "from orgs.models import Event; print(*set(Event.objects.values_list('kind', flat=True)))"
    return set(place.manage("shell", "--no-imports", "-c", script).stdout.split())


@pytest.mark.services
def test_a_toggle_through_one_process_acts_on_a_session_of_the_other_and_redis_may_go(
    postgres: Postgres, redis_server: Redis, tmp_path: Path
) -> None:
    place = Installation(
        data_dir=tmp_path / "data",
        database_url=postgres.create_database("two_nodes"),
        redis_url=redis_server.url(),
        env=SPEEDY | {"HEARTBEAT_TTL_SEC": "60"},
    )
    try:
        place.manage("migrate", "--verbosity", "0")
        key = organization_key(place)
        first, second = place.serve(), place.serve()
        with Fleet([second.ws_url()], key=key, count=20, heartbeat_interval=0.5) as fleet:
            assert fleet.wait_connected(timeout_seconds=15)
            time.sleep(1.5)
            _toggle_and_check(first.url(), second.url())
            redis_server.stop()
            time.sleep(3)
            _toggle_and_check(first.url(), second.url())
            redis_server.start()
            time.sleep(3)
            _toggle_and_check(first.url(), second.url())
            assert fleet.connections == 20, "a socket was closed"
    finally:
        place.close()


def _toggle_and_check(first: str, second: str) -> None:
    """Toggle through the first process; the second, which holds the session, must stop counting its heartbeats."""
    path = "api/v1/internal/orchestrators/fleet-007/independence"
    row = call(first + path, method="PUT", body={"is_independent": True})
    frozen = row["last_seen"]
    time.sleep(1.1)  # without Redis the other process looks once a second
    for _ in range(3):
        time.sleep(0.7)  # more than a heartbeat each
        live = {item["orchestrator_id"]: item for item in items(second + LIVE.lstrip("/"))}
        assert live["fleet-007"]["last_seen"] == frozen
        assert live["fleet-007"]["is_independent"] is True
    call(first + path, method="PUT", body={"is_independent": False})
    address = f"{second}api/v1/controller/orchestrators/fleet-007"
    assert wait_until(lambda: call(address)["last_seen"] > frozen, timeout_seconds=5)
    assert call(address)["status"] == "active"
