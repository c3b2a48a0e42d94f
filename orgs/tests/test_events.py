"""Events: every committed one is read exactly once, in whatever order transactions commit."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from django.db import connection, transaction

from moolai.testing.world import World
from orgs import events
from orgs.gaps import Gaps
from orgs.models import Event


def kinds(rows: list[Event]) -> list[str]:
    return [row.kind for row in rows]


@pytest.fixture
def wakes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every wake-up of this process, in order."""
    heard: list[str] = []
    monkeypatch.setattr(events, "_listeners", [])
    events.on_wake(lambda: heard.append("wake"))
    return heard


@pytest.mark.django_db
def test_a_cursor_begins_at_the_newest_event_and_reads_each_once() -> None:
    events.record("before")
    cursor = events.Cursor()
    assert cursor.read() == []
    events.record("one")
    events.record("two", organization_id="acme", orchestrator_id="orch-001", data={"n": 1})
    rows = cursor.read()
    assert kinds(rows) == ["one", "two"]
    assert (rows[1].organization_id, rows[1].orchestrator_id, rows[1].data) == ("acme", "orch-001", {"n": 1})
    assert cursor.read() == []


@pytest.mark.django_db
def test_a_read_is_one_query_and_its_limit_loses_nothing(django_assert_num_queries: object) -> None:
    cursor = events.Cursor()
    events.record_many(Event(kind=str(number)) for number in range(25))
    found: list[str] = []
    for _ in range(3):
        with django_assert_num_queries(1):  # type: ignore[operator]
            found += kinds(cursor.read(limit=10))
    assert found == [str(number) for number in range(25)]


@pytest.mark.django_db
def test_two_cursors_do_not_disturb_each_other() -> None:
    one, two = events.Cursor(), events.Cursor()
    events.record("a")
    assert kinds(one.read()) == kinds(two.read()) == ["a"]


@pytest.mark.django_db(transaction=True)
def test_readers_are_woken_once_per_transaction_and_after_its_commit(wakes: list[str]) -> None:
    with transaction.atomic():
        events.record("one")
        assert wakes == []
    assert wakes == ["wake"]
    events.record_many([Event(kind="two"), Event(kind="three")])
    assert wakes == ["wake", "wake"]


@pytest.mark.django_db(transaction=True)
def test_nobody_is_woken_for_nothing(wakes: list[str]) -> None:
    events.record_many([])
    with transaction.atomic():
        events.record("gone")
        transaction.set_rollback(True)
    assert wakes == []
    assert not Event.objects.exists()


class Elsewhere:
    """A second connection that records `count` events and commits, or rolls back, when told."""

    def __init__(self, kind: str, *, count: int = 1, commits: bool = True) -> None:
        self.kind, self.count, self.commits = kind, count, commits
        self.recorded, self.go_on = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Elsewhere":
        self.thread.start()
        assert self.recorded.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self.finish()

    def finish(self) -> None:
        self.go_on.set()
        self.thread.join(10)

    def _run(self) -> None:
        try:
            with transaction.atomic():
                events.record_many(Event(kind=self.kind) for _ in range(self.count))
                self.recorded.set()
                self.go_on.wait(10)
                if not self.commits:
                    transaction.set_rollback(True)
        finally:
            connection.close()


@pytest.fixture
def concurrent(world: World) -> Callable[..., Elsewhere]:
    """Record in a transaction of another connection; SQLite has one writer at a time, so ids are in commit order."""
    if world.engine == "sqlite":
        pytest.skip("SQLite commits in the order of ids: it has one writer at a time")
    return Elsewhere


@pytest.mark.django_db(transaction=True)
def test_an_event_committed_after_a_younger_one_is_not_missed(concurrent: Callable[..., Elsewhere]) -> None:
    cursor = events.Cursor()
    with concurrent("early id, late commit") as slow:
        events.record("late id, early commit")
        assert kinds(cursor.read()) == ["late id, early commit"]
        slow.finish()
        assert kinds(cursor.read()) == ["early id, late commit"]
        assert cursor.read() == []


@pytest.mark.django_db(transaction=True)
def test_gaps_between_several_reads_are_all_kept(concurrent: Callable[..., Elsewhere]) -> None:
    cursor = events.Cursor()
    with concurrent("one") as one, concurrent("two") as two:
        events.record("three")
        assert kinds(cursor.read()) == ["three"]
        events.record("four")
        assert kinds(cursor.read()) == ["four"]
        two.finish()
        assert kinds(cursor.read()) == ["two"]
        one.finish()
        events.record("five")
        assert kinds(cursor.read()) == ["one", "five"]


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_event_is_asked_for_only_so_long(
    concurrent: Callable[..., Elsewhere], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "GAP_SECONDS", 0.0)
    cursor = events.Cursor()
    with concurrent("never", commits=False):
        events.record("later")
        assert kinds(cursor.read()) == ["later"]
    assert cursor.read() == []
    assert cursor.missing == 0


@pytest.mark.django_db(transaction=True)
def test_an_open_gap_at_the_start_of_a_cursor_is_read_too(concurrent: Callable[..., Elsewhere]) -> None:
    with concurrent("early id, late commit") as slow:
        events.record("late id, early commit")
        cursor = events.Cursor()
        slow.finish()
        assert kinds(cursor.read()) == ["early id, late commit"]


@pytest.mark.django_db(transaction=True)
def test_a_large_transaction_that_commits_late_is_read_whole(concurrent: Callable[..., Elsewhere]) -> None:
    events.record("before")
    cursor = events.Cursor()
    at_start = cursor.missing
    with concurrent("many", count=2500) as slow:
        events.record("late id, early commit")
        assert kinds(cursor.read()) == ["late id, early commit"]
        slow.finish()
        found = [kinds(cursor.read()) for _ in range(4)]
    assert [len(page) for page in found] == [1000, 1000, 500, 0]
    assert cursor.missing == at_start


@pytest.mark.django_db(transaction=True)
def test_a_large_transaction_that_is_open_when_the_cursor_starts_is_read_whole(
    concurrent: Callable[..., Elsewhere],
) -> None:
    events.record("before")
    with concurrent("many", count=2500) as slow:
        events.record("late id, early commit")
        cursor = events.Cursor()
        slow.finish()
        assert len(cursor.read(limit=5000)) == 2500


@pytest.mark.django_db(transaction=True)
def test_two_large_transactions_in_each_others_way_are_both_read_once(concurrent: Callable[..., Elsewhere]) -> None:
    cursor = events.Cursor()
    found: list[int] = []
    with concurrent("rest", count=700) as slow:
        for _ in range(3):
            with concurrent("mine", count=600):
                events.record("between")
            found += [row.id for row in cursor.read()]
        slow.finish()
        while page := cursor.read(limit=250):
            found += [row.id for row in page]
    assert sorted(found) == sorted(Event.objects.values_list("id", flat=True))
    assert len(found) == 700 + 3 * 601


@pytest.mark.django_db(transaction=True)
def test_gaps_cost_no_further_query(
    concurrent: Callable[..., Elsewhere], django_assert_num_queries: Callable[[int], AbstractContextManager[object]]
) -> None:
    cursor = events.Cursor()
    with concurrent("one", count=1500), concurrent("two", count=1500):
        for _ in range(3):
            events.record("three")
            with django_assert_num_queries(1):
                assert kinds(cursor.read()) == ["three"]


@pytest.mark.django_db
def test_a_lower_id_that_appears_later_is_read_on_either_database() -> None:
    events.record("first")
    cursor = events.Cursor()
    first = Event.objects.get().pk
    for number, kind in ((3, "three"), (1, "one"), (2, "two")):
        Event.objects.create(id=first + number, kind=kind, created_at="2026-01-01T00:00:00Z")
        assert kinds(cursor.read()) == [kind]
    assert cursor.read() == []


def appear(*ids: int) -> None:
    Event.objects.bulk_create(Event(kind=str(pk), id=pk, created_at="2026-01-01T00:00:00Z") for pk in ids)


def age(cursor: events.Cursor) -> None:
    """Let the time of every gap be over."""
    cursor._gaps = Gaps([gap._replace(until=0.0) for gap in cursor._gaps], most=events.MAX_GAPS)


@pytest.mark.django_db
def test_a_huge_jump_of_ids_is_one_gap_and_loses_nothing() -> None:
    cursor = events.Cursor()
    first = 10_000_000
    appear(first)
    assert kinds(cursor.read()) == [str(first)]
    assert cursor.missing == 1
    appear(first - 1, first - 1500, first - 9_000_000)
    assert kinds(cursor.read()) == [str(first - 9_000_000), str(first - 1500), str(first - 1)]
    assert cursor.missing == 3
    assert cursor.read() == []


@pytest.mark.django_db
def test_a_cursor_with_too_many_gaps_waits_for_them_instead_of_losing_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_GAPS", 3)
    appear(1)
    cursor = events.Cursor()
    appear(*range(3, 20, 2))
    assert kinds(cursor.read()) == ["3", "5", "7"]
    assert cursor.missing == 3
    assert not cursor.is_behind, "nothing is gained by asking again at once"
    appear(4, 6)
    assert kinds(cursor.read()) == ["4", "6", "9", "11"]
    age(cursor)
    assert cursor.read() == []
    assert kinds(cursor.read()) == ["13", "15", "17"]


@pytest.mark.django_db
def test_a_row_inside_a_gap_waits_where_two_gaps_would_be_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_GAPS", 1)
    appear(1)
    cursor = events.Cursor()
    appear(10)
    assert kinds(cursor.read()) == ["10"]
    appear(5)
    assert cursor.read() == []
    age(cursor)
    assert kinds(cursor.read()) == ["5"]
    assert cursor.missing == 0


@pytest.mark.django_db
def test_a_gap_is_given_up_only_by_a_read_that_began_after_its_time() -> None:
    appear(1)
    cursor = events.Cursor()
    appear(2002)
    assert kinds(cursor.read()) == ["2002"]
    appear(*range(2, 2002))
    age(cursor)
    assert [len(cursor.read()) for _ in range(3)] == [1000, 1000, 0], "also what did not fit the page of that read"
