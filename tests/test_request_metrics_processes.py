"""Calls that real web processes answered are in the table: of all processes, after their end, after an outage."""

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from moolai.testing.postgres import Postgres
from moolai.testing.processes import wait_until
from moolai.testing.product import Installation, ServerProcess

pytestmark = pytest.mark.once("postgres")

COUNTED = (
    "from monitoring.models import RequestMetric; from django.db.models import Count, Sum; "
    "rows = RequestMetric.objects.filter(route='/readyz'); "
    "spans = rows.order_by('span_seconds').values('span_seconds'); "
    "print(*spans.annotate(nodes=Count('node', distinct=True), n=Sum('count')).values_list('nodes', 'n'))"
)


def call(web: ServerProcess, times: int) -> None:
    for _ in range(times):
        with urllib.request.urlopen(web.url("/readyz"), timeout=5) as answer:
            assert answer.status == 200


def share_a_limit(webs: list[ServerProcess]) -> None:
    """Ask two processes in turn, by one address: what is left falls from call to call, and both refuse the next."""
    left = []
    for number in range(30):
        with urllib.request.urlopen(webs[number % 2].url("/stats"), timeout=5) as answer:
            assert answer.headers["X-RateLimit-Limit"] == "30"
            left.append(int(answer.headers["X-RateLimit-Remaining"]))
    assert left == list(reversed(range(30)))
    for web in webs:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(web.url("/stats"), timeout=5)
        assert refused.value.code == 429
        assert 0 < int(refused.value.headers["Retry-After"]) <= 60
        assert refused.value.headers["X-RateLimit-Remaining"] == "0"
        refused.value.close()


def is_well(web: ServerProcess) -> bool:
    try:
        with urllib.request.urlopen(web.url("/health"), timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def counted(place: Installation) -> str:
    """Return how many processes answered how many calls: of minutes, of hours, of days."""
    return place.manage("shell", "--no-imports", "-c", COUNTED).stdout.strip()


@pytest.mark.services
def test_two_processes_count_apart_and_nothing_is_lost_when_they_end(
    installation: Callable[..., Installation],
) -> None:
    place = installation({"RATE_LIMIT_STATS": "30/minute"})
    webs = [place.serve(), place.serve()]
    share_a_limit(webs)
    for web, times in zip(webs, (7, 5), strict=True):
        call(web, times)
    assert [web.terminate() for web in webs] == [0, 0]
    assert counted(place) == " ".join(["(2, 12)"] * 3)


@pytest.mark.faults
def test_counts_outlive_an_outage_of_the_database(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.create_database("request_metrics_outage")
    place = Installation(data_dir=tmp_path / "data", database_url=url)
    try:
        place.manage("migrate", "--verbosity", "0")
        web = place.serve()
        call(web, 3)
        postgres.stop()
        assert wait_until(lambda: "request metrics wait for the database" in web.output(), timeout_seconds=30)
        for _ in range(4):
            with pytest.raises(OSError, match="503"):
                urllib.request.urlopen(web.url("/readyz"), timeout=10)
        postgres.start()
        assert wait_until(lambda: is_well(web), timeout_seconds=30)
        call(web, 2)
        assert wait_until(lambda: "request metrics are stored again" in web.output(), timeout_seconds=30)
        assert web.terminate() == 0
        assert counted(place) == " ".join(["(1, 9)"] * 3)
    finally:
        place.close()
