"""Leases: of several takers exactly one gets the job, and no sooner than the gap allows."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from orgs import leases
from orgs.models import Lease

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.django_db
def test_one_takes_it_and_another_does_not_until_it_expires() -> None:
    first = leases.take("sweep", holder="a", seconds=30, now=at(0))
    assert first is not None
    assert first.ran_at is None
    assert leases.take("sweep", holder="b", seconds=30, now=at(29.9)) is None
    second = leases.take("sweep", holder="b", seconds=30, now=at(30))
    assert second is not None
    assert second.holder == "b"


@pytest.mark.django_db
def test_a_finished_job_may_run_again_at_once_and_tells_when_it_ran() -> None:
    grant = leases.take("sweep", holder="a", seconds=30, now=at(0))
    assert grant is not None
    leases.finish(grant, now=at(2))
    again = leases.take("sweep", holder="b", seconds=30, now=at(2))
    assert again is not None
    assert again.ran_at == at(2)


@pytest.mark.django_db
def test_a_second_clock_right_after_the_first_does_not_run_the_job_twice() -> None:
    grant = leases.take("sweep", holder="a", seconds=30, min_gap_seconds=4, now=at(0))
    assert grant is not None
    leases.finish(grant, now=at(0.1))
    assert leases.take("sweep", holder="b", seconds=30, min_gap_seconds=4, now=at(4)) is None
    assert leases.take("sweep", holder="b", seconds=30, min_gap_seconds=4, now=at(4.1)) is not None


@pytest.mark.django_db
def test_a_crashed_run_does_not_count_as_run() -> None:
    assert leases.take("sweep", holder="crashes", seconds=30, min_gap_seconds=60, now=at(0)) is not None
    after = leases.take("sweep", holder="b", seconds=30, min_gap_seconds=60, now=at(30))
    assert after is not None
    assert after.ran_at is None


@pytest.mark.django_db
def test_who_lost_the_lease_cannot_give_it_back() -> None:
    slow = leases.take("sweep", holder="slow", seconds=30, now=at(0))
    other = leases.take("sweep", holder="other", seconds=30, now=at(31))
    assert slow is not None
    assert other is not None
    leases.finish(slow, now=at(32))
    assert leases.take("sweep", holder="third", seconds=30, now=at(33)) is None
    assert Lease.objects.get(name="sweep").ran_at is None


@pytest.mark.django_db
def test_jobs_do_not_share_leases() -> None:
    assert leases.take("sweep", holder="a", seconds=30, now=at(0)) is not None
    assert leases.take("expire", holder="b", seconds=30, now=at(0)) is not None


@pytest.mark.django_db(transaction=True)
def test_of_eight_takers_at_the_same_moment_one_wins() -> None:
    barrier, grants = threading.Barrier(8), []

    def take(holder: str) -> None:
        try:
            barrier.wait(10)
            grants.append(leases.take("sweep", holder=holder, seconds=30, now=at(0)))
        finally:
            connection.close()

    threads = [threading.Thread(target=take, args=(f"taker-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    won = [grant for grant in grants if grant is not None]
    assert len(grants) == 8
    assert len(won) == 1
    assert Lease.objects.get(name="sweep").holder == won[0].holder
