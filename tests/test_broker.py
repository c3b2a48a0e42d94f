"""The embedded broker: files come whole, and one that is no message kills nobody."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from moolai.broker import Transport
from moolai.celery import app

pytestmark = pytest.mark.once
QUEUE = Queue("moolai", Exchange("moolai"), routing_key="moolai")
WRITERS, EACH = 8, 150


@pytest.fixture
def broker(tmp_path: Path) -> Connection:
    """The application's broker in a directory of the test's own."""
    for name in ("queue", "control"):
        (tmp_path / name).mkdir()
    Transport.global_state.clear()  # what this process has bound, in another test's directory
    return connection(tmp_path)


def connection(place: Path) -> Connection:
    """Connect as the application does."""
    options: dict[str, Any] = {"data_folder_in": str(place / "queue"), "data_folder_out": str(place / "queue")}
    options |= {"control_folder": str(place / "control"), "polling_interval": 0.01}
    return Connection(app.conf.broker_url, transport_options=options)


def taken(broker: Connection, *, count: int, timeout_seconds: float = 1.0) -> list[Any]:
    """Return up to `count` messages, as a worker's loop takes them."""
    found: list[Any] = []

    def take(body: Any, message: Any) -> None:
        found.append(body)
        message.ack()

    with broker.Consumer(QUEUE, callbacks=[take]):
        while len(found) < count:
            try:
                broker.drain_events(timeout=timeout_seconds)
            except TimeoutError:
                break
    return found


@pytest.mark.parametrize("text", ["", '{"body": "abc', "[]", "{}", '{"body": "=", "properties": {}}', "\xff"])
def test_a_file_that_is_no_message_is_set_aside_and_the_next_is_taken(
    broker: Connection, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "queue" / "0_half.moolai.msg").write_text(text, encoding="latin-1")
    broker.Producer().publish({"number": 1}, exchange=QUEUE.exchange, routing_key="moolai", declare=[QUEUE])
    assert taken(broker, count=1) == [{"number": 1}]
    assert [file.name for file in (tmp_path / "queue").iterdir()] == ["0_half.moolai.msg.unreadable"]
    (line,) = [record for record in caplog.records if record.name == "moolai.broker"]
    assert "0_half.moolai.msg cannot be read" in line.getMessage()
    assert line.exc_info is None


@pytest.fixture
def restless() -> Iterator[None]:
    """Let threads interrupt each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_many_writers_and_one_reader_lose_nothing(broker: Connection, tmp_path: Path, restless: None) -> None:
    def write(writer: int) -> None:
        with connection(tmp_path) as own:
            producer = own.Producer()
            for number in range(EACH):
                producer.publish(
                    {"number": writer * EACH + number, "padding": "x" * 20_000},
                    exchange=QUEUE.exchange,
                    routing_key="moolai",
                    declare=[QUEUE],
                )

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    found = taken(broker, count=WRITERS * EACH, timeout_seconds=5.0)
    for thread in threads:
        thread.join()
    assert sorted(body["number"] for body in found) == list(range(WRITERS * EACH))
    assert list((tmp_path / "queue").iterdir()) == []


def test_many_that_bind_at_once_keep_each_others_routes(tmp_path: Path, broker: Connection) -> None:
    barrier = threading.Barrier(WRITERS)

    def bind(number: int) -> None:
        channel: Any = connection(tmp_path).channel()
        barrier.wait()
        channel._queue_bind("routes", f"key-{number}", "", f"queue-{number}")

    threads = [threading.Thread(target=bind, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    channel: Any = broker.channel()
    assert {route.queue for route in channel.get_table("routes")} == {f"queue-{n}" for n in range(WRITERS)}


def test_a_table_of_routes_that_is_empty_is_written_anew(broker: Connection, tmp_path: Path) -> None:
    (tmp_path / "control" / "moolai.exchange").write_text("")
    broker.Producer().publish({"number": 1}, exchange=QUEUE.exchange, routing_key="moolai", declare=[QUEUE])
    assert taken(broker, count=1) == [{"number": 1}]


def test_a_directory_needs_no_host_name(broker: Connection, caplog: pytest.LogCaptureFixture) -> None:
    broker.info()
    assert caplog.records == []
