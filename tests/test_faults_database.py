"""PostgreSQL goes away under connected orchestrators, and comes back."""

import time
from pathlib import Path

import pytest

from moolai.testing.postgres import Postgres
from moolai.testing.processes import wait_until
from moolai.testing.product import Installation
from tests.fleet import TOKEN, Fleet, items, organization_key

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
LIVE = "/api/v1/controller/orchestrators/live"


@pytest.mark.parametrize("seconds", [12, 22, 60])
def test_an_outage_closes_no_socket_and_leaves_the_fleet_as_it_was(
    seconds: int, postgres: Postgres, tmp_path: Path
) -> None:
    place = Installation(
        data_dir=tmp_path / "data",
        database_url=postgres.create_database(f"outage_{seconds}"),
        env={"DEV_BEARER_TOKEN": TOKEN, "HEARTBEAT_TTL_SEC": "30", "HEARTBEAT_INTERVAL_SEC": "2"},
    )
    try:
        place.manage("migrate", "--verbosity", "0")
        key = organization_key(place)
        web = place.serve()
        place.worker()
        place.beat()
        with Fleet([web.ws_url()], key=key, count=20) as fleet:
            assert fleet.wait_connected(timeout_seconds=20)
            time.sleep(11)  # a sweep has run twice: a pause is noticed from now on
            postgres.stop()
            time.sleep(seconds)
            postgres.start()
            assert wait_until(lambda: len(_live(web.url(LIVE))) == 20, timeout_seconds=20)
            time.sleep(12)  # two more sweeps
            assert len(_live(web.url(LIVE))) == 20
            rows = items(web.url("/api/v1/controller/orchestrators"))
            assert {row["status"] for row in rows} == {"active"}
            assert all(row["is_connected"] for row in rows)
            assert fleet.connections == 20, "a socket was closed"
            script = "from orgs.models import Event; print(*set(Event.objects.values_list('kind', flat=True)))"
            assert "orchestrator.inactive" not in place.manage("shell", "--no-imports", "-c", script).stdout
    finally:
        place.close()


def _live(url: str) -> list[dict[str, object]]:
    try:
        return items(url)
    except OSError:
        return []
