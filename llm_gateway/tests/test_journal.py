"""The journal and the ledger: nothing is lost or counted twice when processes are killed at any moment."""

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import Sum
from django.utils import timezone

from llm_gateway.models import Attempt, BudgetLease, BudgetWindow, Call, JournalCursor, Spending
from llm_gateway.money import draining, journal, leases, ledger, records
from llm_gateway.money.drainer import Drainer
from llm_gateway.money.journal import Journal, JournalFull
from llm_gateway.money.leases import Ask
from llm_gateway.money.troubles import Trouble

NOON = 1_795_262_400.0  # 2026-11-21 12:00 UTC
WRITER = """
import sys
from pathlib import Path
from llm_gateway.money.journal import Journal
from llm_gateway.money.records import Attempt, Begin, End
book, at = Journal(Path(sys.argv[1]), holder="killed"), float(sys.argv[2])
for number in range(1_000_000):
    call = f"call_{number}"
    book.begin(Begin(call_id=call, organization_id="acme", key_id="key_1", requested_model="gpt-4o", at=at,
                     scope_model="openai/gpt-4o", reserved_usd_micros=1000, leases=[int(sys.argv[3])]))
    book.attempt(Attempt(call_id=call, number=1, provider="openai", model="gpt-4o", at=at, http_status=200))
    if number % 7 == 3:
        continue  # never ends
    book.end(End(call_id=call, at=at + 1, status="completed", provider="openai", model="gpt-4o", input_tokens=10,
                 output_tokens=5, cost_usd_micros=number % 1000, latency_ms=1.5))
    print(number, flush=True)
"""


def begin(call_id: str = "call_1", **more: Any) -> records.Begin:
    columns: dict[str, Any] = {"organization_id": "acme", "requested_model": "gpt-4o", "at": NOON} | more
    return records.Begin(call_id=call_id, **columns)


def end(call_id: str = "call_1", **more: Any) -> records.End:
    columns: dict[str, Any] = {"at": NOON + 1, "status": "completed", "provider": "openai", "model": "gpt-4o"} | more
    return records.End(call_id=call_id, **columns)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Journal]:
    found = Journal(tmp_path / "journal", holder="host:1:ab")
    yield found
    found.close()


def spent() -> dict[tuple[str, str], int]:
    return {(row.subject, row.window): row.spent for row in BudgetWindow.objects.filter(spent__gt=0)}


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_a_record_that_is_cut_off_or_damaged_at_any_byte_is_none() -> None:
    whole, last = records.pack(begin()) + records.pack(end()), records.pack(begin("call_2", key_id="key_1"))
    kept = [record for record, _ in records.unpack(whole)]
    assert kept == [begin(), end()]
    for cut in range(len(last)):
        assert [record for record, _ in records.unpack(whole + last[:cut])] == kept
        damaged = bytearray(whole + last)
        damaged[len(whole) + cut] ^= 0x55
        assert [record for record, _ in records.unpack(bytes(damaged))] == kept
    assert [place for _, place in records.unpack(whole + last)][-1] == len(whole + last)


@pytest.mark.once
def test_nothing_of_a_call_is_kept_but_who_and_how_much() -> None:
    assert set(records.Begin.__dataclass_fields__) | set(records.End.__dataclass_fields__) == {
        "at", "call_id", "cached_input_tokens", "cache_write_tokens", "cost_usd_micros", "error", "first_token_ms",
        "input_tokens", "is_cached", "is_estimated", "is_stream", "key_id", "latency_ms", "leases", "model",
        "orchestrator_id", "organization_id", "output_tokens", "price", "provider", "reasoning_tokens",
        "requested_model", "reserved_usd_micros", "saved_usd_micros", "scope_key", "scope_model", "status", "surface",
        "user",
    }  # fmt: skip


@pytest.mark.once
def test_a_full_disk_refuses_the_call_and_leaves_no_torn_record(book: Journal) -> None:
    book.begin(begin("call_1"))
    path = journal.files(book.folder)[0]
    assert (path.stat().st_mode & 0o777, book.folder.stat().st_mode & 0o777) == (0o600, 0o700)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
        with pytest.raises(JournalFull):
            book.begin(begin("call_2"))
        with pytest.raises(JournalFull):
            book.end(end("call_1"))
        book.sync()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    book.begin(begin("call_3"))
    found = [(type(record), record.call_id) for record, _ in records.unpack(path.read_bytes())]
    assert found == [(records.Begin, "call_1"), (records.End, "call_1"), (records.Begin, "call_3")]


@pytest.mark.once
def test_an_end_that_did_not_fit_is_written_when_there_is_room_and_a_journal_that_cannot_begin_leaves_nothing(
    book: Journal, tmp_path: Path
) -> None:
    book.begin(begin("call_1"))
    path = journal.files(book.folder)[0]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
        with pytest.raises(JournalFull):
            book.end(end("call_1"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    for _ in range(2):
        book.sync()
        assert [record.call_id for record, _ in records.unpack(path.read_bytes())] == ["call_1", "call_1"]
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(JournalFull):
        Journal(tmp_path / "file", holder="host:2:cd")


@pytest.mark.once
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unheard of")])
def test_a_disk_that_does_not_keep_what_is_written_does_not_end_the_drainer(
    book: Journal, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    asked = threading.Semaphore(0)

    def fail(handle: int) -> None:
        asked.release()
        raise error

    monkeypatch.setattr(os, "fdatasync", fail)
    drainer = Drainer(book, interval_seconds=0.01)
    monkeypatch.setattr(drainer, "flush", lambda: False)
    drainer.start()
    for _ in range(3):
        assert asked.acquire(timeout=5)
    drainer.stop()


# --- the ledger ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_call_is_one_row_with_its_attempts_and_counts_for_all_its_budgets(book: Journal) -> None:
    book.begin(
        begin(key_id="key_1", scope_model="openai/gpt-4o", reserved_usd_micros=90, user="nul\0 and \ud800" + "x" * 150)
    )
    for number, status in ((1, 500), (2, 200)):
        book.attempt(
            records.Attempt(
                call_id="call_1", number=number, provider="openai", model="gpt-4o", at=NOON, http_status=status
            )
        )
    assert draining.drain_folder(book.folder) > 0
    row = Call.objects.get()
    assert (row.status, row.attempts, row.finished_at, row.user[:8]) == ("running", 2, None, "nul and ")
    assert spent() == {}
    book.end(end(cost_usd_micros=70, input_tokens=2**80, output_tokens=5, price={"source": "genai-prices"}))
    book.end(end(cost_usd_micros=999))  # a second end changes nothing
    draining.drain_folder(book.folder)
    draining.drain_folder(book.folder)
    row.refresh_from_db()
    assert (row.status, row.cost_usd_micros, row.price) == ("completed", 70, {"source": "genai-prices"})
    assert list(Attempt.objects.values_list("number", "http_status")) == [(1, 500), (2, 200)]
    names = ("org:acme", "key:key_1", "model:acme/gpt-4o", "model:acme/openai/gpt-4o")
    assert spent() == {(name, window): 70 for name in names for window in ("day", "week", "month", "total")}
    hour = Spending.objects.get()
    assert (hour.requests, hour.failed, hour.cost_usd_micros, hour.output_tokens) == (1, 0, 70, 5)


@pytest.mark.django_db
def test_a_thousand_calls_are_a_few_statements_in_one_transaction(
    book: Journal, django_assert_max_num_queries: Any
) -> None:
    """Beside the event loop a statement costs more than what it writes."""
    for number in range(1000):
        book.begin(begin(f"call_{number}", key_id=f"key_{number % 3}", scope_model="openai/gpt-4o"))
        one = records.Attempt(call_id=f"call_{number}", number=1, provider="openai", model="gpt-4o", at=NOON)
        book.end(end(f"call_{number}", cost_usd_micros=7), attempts=[one])
    with django_assert_max_num_queries(14) as asked:
        draining.drain_folder(book.folder)
    assert (Call.objects.filter(status="completed", attempts=1).count(), Attempt.objects.count()) == (1000, 1000)
    assert spent()["org:acme", "day"] == 7000
    book.begin(begin("call_last"))
    with django_assert_max_num_queries(len(asked)):
        draining.drain_folder(book.folder)


@pytest.mark.django_db
def test_what_was_made_up_fits_the_columns_and_what_an_older_version_left_out_is_blank(book: Journal) -> None:
    odd = "m\0" + "é\U0001f600" * 150
    book.begin(begin(requested_model=odd, user='"\\u0000', scope_model=odd))
    tried = records.Attempt(
        call_id="call_1", number=2**40, provider=odd, model=odd, at=NOON, error=odd, http_status=-1, latency_ms=0.25
    )
    book.end(
        end(model=odd, input_tokens=-5, output_tokens=2**63, cost_usd_micros=3, price={"a\0": "\\"}), attempts=[tried]
    )
    draining.drain_folder(book.folder)
    row, attempt = Call.objects.get(), Attempt.objects.get()
    fitted = odd.replace("\0", "")[:200]
    assert (row.requested_model, row.model, row.scope_model, row.user) == (fitted, fitted, fitted, '"\\u0000')
    assert (row.input_tokens, row.output_tokens, row.price) == (0, 2**53, {"a": "\\"})
    assert (row.started_at.timestamp(), row.leases, row.first_token_ms) == (NOON, [], None)
    assert (attempt.number, attempt.http_status, attempt.model, attempt.latency_ms) == (2**15 - 1, 0, fitted, 0.25)
    assert Spending.objects.get().model == fitted
    ledger.write_documents([("b", {"call_id": "old", "organization_id": "acme", "at": NOON})], holder="p-0")
    assert Call.objects.get(pk="old").requested_model == ""


@pytest.mark.django_db
def test_what_a_provider_makes_up_does_not_stop_the_books_of_all(book: Journal) -> None:
    """An organization's own provider may say any number of tokens, as often as it likes."""
    ask = Ask("acme", ("org:acme", "usd_micros", "total", 0), 2**40, 10**6, need=10)
    lease = leases.exchange([ask], holder=book.holder, now=NOON)[ask.name].lease
    for number in range(1_100):
        book.begin(begin(f"call_{number}", scope_model="own/m", leases=[lease]))
        book.end(end(f"call_{number}", cost_usd_micros=2**62, input_tokens=2**53, output_tokens=2**53))
    draining.drain_folder(book.folder)
    book.begin(begin("call_last", leases=[lease]))
    book.end(end("call_last", cost_usd_micros=2**62, input_tokens=2**53))
    draining.drain_folder(book.folder)
    assert Call.objects.filter(status="completed", cost_usd_micros=2**53).count() == 1_101
    assert set(spent().values()) == {2**53}
    hour = Spending.objects.get()
    assert (hour.requests, hour.cost_usd_micros, hour.input_tokens, hour.output_tokens) == (1_101, *[2**53] * 3)
    draining.bury(book.holder)
    book.begin(begin("call_other", organization_id="globex"))
    book.end(end("call_other", cost_usd_micros=7))
    draining.drain_folder(book.folder)
    assert spent()["org:globex", "day"] == 7


@pytest.mark.django_db
def test_files_that_were_read_are_deleted_and_a_long_call_ends_in_a_later_one(tmp_path: Path) -> None:
    book = Journal(tmp_path, holder="long", rotate_bytes=500)
    book.begin(begin("call_long"))
    for number in range(10):
        book.begin(begin(f"call_{number}"))
        book.end(end(f"call_{number}", status="failed", error="timeout"))
    book.end(end("call_long", cost_usd_micros=5))
    assert len(journal.files(book.folder)) > 3
    draining.drain_folder(book.folder)
    assert len(journal.files(book.folder)) == 1
    assert Call.objects.filter(status="failed").count() == 10
    assert Call.objects.get(status="completed").call_id == "call_long"
    hour = Spending.objects.aggregate(Sum("requests"), Sum("failed"))
    assert hour == {"requests__sum": 1, "failed__sum": 10}
    assert draining.adopt(tmp_path) == []  # it lives
    book.close()
    assert draining.adopt(tmp_path) == ["long"]
    assert not book.folder.exists()


@pytest.mark.django_db
def test_a_journal_that_cannot_be_read_keeps_no_other_from_being_finished(tmp_path: Path) -> None:
    for name in ("a-broken", "b-whole"):
        book = Journal(tmp_path, holder=name)
        book.begin(begin(f"call_{name}"))
        book.close()
    file = journal.files(tmp_path / "a-broken")[0]
    file.unlink()
    file.mkdir()
    assert draining.adopt(tmp_path) == ["b-whole"]
    assert list(Call.objects.values_list("call_id", "status")) == [("call_b-whole", "lost")]


@pytest.mark.django_db(transaction=True)
def test_a_killed_process_loses_nothing_and_two_who_read_what_it_left_count_once(tmp_path: Path) -> None:
    ask = Ask("acme", ("org:acme", "usd_micros", "month", 1_793_491_200), 1_796_083_200, 10**9, need=500_000)
    grant = leases.exchange([ask], holder="killed", now=NOON)[ask.name]
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(NOON), str(grant.lease)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(300)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    folder = tmp_path / "killed"
    errors: list[Exception] = []

    def read() -> None:
        try:
            draining.drain_folder(folder)
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert errors == []
    assert draining.adopt(tmp_path) == ["killed"]
    assert draining.adopt(tmp_path) == []
    done = dict(Call.objects.filter(status="completed").values_list("call_id", "cost_usd_micros"))
    assert {f"call_{number}": number % 1000 for number in acknowledged}.items() <= done.items()
    assert len(done) - len(acknowledged) in (0, 1)  # the last may have been written and not said
    lost = Call.objects.filter(status="lost")
    assert lost.count() >= len(done) // 7
    assert set(lost.values_list("provider", "model")) == {("openai", "gpt-4o")}
    assert Call.objects.count() == len(done) + lost.count()
    total = sum(done.values()) + 1000 * lost.count()
    assert set(spent().values()) == {total}
    assert Spending.objects.aggregate(total=Sum("cost_usd_micros"))["total"] == total
    assert not BudgetLease.objects.exists()
    window = BudgetWindow.objects.get(subject="org:acme", window="month")
    assert (window.spent, window.leased) == (total, 0)
    assert JournalCursor.objects.get().is_closed


@pytest.mark.once
@pytest.mark.django_db(transaction=True)
def test_the_drainer_reads_while_calls_are_made_and_once_more_at_the_end(book: Journal) -> None:
    drainer = Drainer(book, interval_seconds=0.02)
    drainer.start()
    for number in range(20):
        book.begin(begin(f"call_{number}"))
        book.end(end(f"call_{number}", cost_usd_micros=number))
    book.begin(begin("call_open", reserved_usd_micros=30))
    drainer.stop()
    assert Call.objects.filter(status="completed").aggregate(total=Sum("cost_usd_micros")) == {"total": sum(range(20))}
    assert Call.objects.get(status="lost").cost_usd_micros == 30
    assert not book.folder.exists()
    with pytest.raises(JournalFull):
        book.begin(begin("call_late"))


@pytest.mark.once
@pytest.mark.django_db(transaction=True)  # connections are closed after what goes wrong
def test_what_goes_wrong_each_second_is_told_when_it_begins_and_when_it_is_over(
    book: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    drainer = Drainer(book)
    broken = book.folder / f"0{journal.SUFFIX}"
    broken.mkdir()  # no file: reading it is an error that nobody expects
    assert [drainer.flush() for _ in range(5)] == [False] * 5
    assert [(row.getMessage(), row.exc_info is not None) for row in caplog.records] == [
        ("the journal could not be read", True)
    ]
    broken.rmdir()
    assert [drainer.flush() for _ in range(2)] == [True] * 2
    assert [row.getMessage() for row in caplog.records[1:]] == ["the ledger is written again"]


@pytest.mark.once
def test_what_lasts_is_told_once_a_minute_in_a_line_and_each_kind_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    trouble = Trouble(expected=(OSError,), waits="it waits", fails="it fails", over="it is over")
    trouble.end()
    for second in range(130):
        trouble.meet(ValueError() if second % 2 else KeyError(), now=1000.0 + second)
    told = [(row.getMessage(), bool(row.exc_info)) for row in caplog.records]
    assert told == [("it fails", True)] * 2 + [("it fails, still: ValueError", False)] * 2
    caplog.clear()
    for second in range(130):
        trouble.meet(OSError("no space\nleft"), now=2000.0 + second)
    trouble.end()
    trouble.meet(KeyError(), now=3000.0)
    told = [(row.getMessage(), bool(row.exc_info)) for row in caplog.records]
    assert told == [("it waits: no space", False)] * 3 + [("it is over", False), ("it fails", True)]


@pytest.mark.once
@pytest.mark.django_db
def test_what_a_vanished_process_holds_comes_back_slots_first(book: Journal) -> None:
    asks = [Ask("acme", ("org:acme", unit, "total", 0), 2**40, 10**6, need=10) for unit in ("usd_micros", "calls")]
    leases.exchange(asks, holder=book.holder, now=NOON)
    book.begin(begin())
    draining.drain_folder(book.folder)
    heard_at = timezone.now()
    draining.beat(book.holder, now=heard_at)
    for minutes, left in ((9, 2), (11, 1), (23 * 60, 1), (25 * 60, 0)):
        draining.release_vanished(now=heard_at + timedelta(minutes=minutes))
        assert BudgetLease.objects.count() == left
    assert set(BudgetWindow.objects.values_list("leased", flat=True)) == {0}


@pytest.mark.once("postgres")
@pytest.mark.django_db(transaction=True)
def test_those_who_lease_and_those_who_count_never_wait_in_a_circle() -> None:
    """Names sort otherwise in PostgreSQL's collation than in Python: rows are locked by their ids."""
    subjects = [f"org:{name}" for name in ("a", "B", "_c", "D-1", "d1", "Ä")]
    errors: list[Exception] = []

    def lease(number: int) -> None:
        for turn in range(12):
            month = ("usd_micros", "month", 1_793_491_200)
            asks = [Ask("acme", (subject, *month), 1_796_083_200, 10**9, need=1) for subject in subjects]
            leases.exchange(asks[turn % 3 :], holder=f"p-{number}", now=NOON)

    def count(number: int) -> None:
        for turn in range(12):
            found: list[records.Record] = []
            for place, subject in enumerate(subjects[turn % 4 :]):
                call_id = f"call_{number}_{turn}_{place}"
                found.append(begin(call_id, organization_id=subject.removeprefix("org:")))
                found.append(end(call_id, cost_usd_micros=1))
            with transaction.atomic():
                ledger.write(found, holder=f"p-{number}")

    def run(work: Any, number: int) -> None:
        try:
            work(number)
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work, number)) for number in range(3) for work in (lease, count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    total = BudgetWindow.objects.filter(window="month").aggregate(spent=Sum("spent"))["spent"]
    assert total == Call.objects.count()
