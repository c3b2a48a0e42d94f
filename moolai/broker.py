"""The embedded broker: messages of Celery as files in a directory, where there is no Redis.

Kombu's own transport reads files that a writer has created but not written yet, and dies of them. Here a file gets its
name when it is whole, and one that cannot be read as a message is set aside.
"""

import fcntl
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem, virtual
from kombu.utils.json import dumps, loads

logger = logging.getLogger(__name__)
SCHEME = "embedded"
Route = filesystem.exchange_queue_t
_binding = threading.Lock()


class Channel(filesystem.Channel):
    """Kombu's channel over files, with reads and writes that are whole."""

    def _put(self, queue: str, payload: dict[str, Any], **options: Any) -> None:  # type: ignore[override]
        name = f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        try:
            write_whole(Path(self.data_folder_out) / name, dumps(payload))
        except OSError as error:
            raise ChannelError(f"The broker cannot write {name}: {error}") from error

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        folder = Path(self.data_folder_in)
        for name in sorted(os.listdir(folder)):
            if name.partition(".")[2] == f"{queue}.msg" and (payload := self._take(folder / name)) is not None:
                return payload
        raise Empty

    def _take(self, file: Path) -> dict[str, Any] | None:
        """Return a message that is now this reader's; None when another one took it, or when it is none."""
        try:
            payload: dict[str, Any] = loads(file.read_bytes().decode())
            virtual.Message(payload, channel=self)  # as the consumer will read it
        except OSError:
            return None
        except Exception as error:
            set_aside(file, error)
            return None
        try:
            file.unlink()  # of several readers one succeeds
        except FileNotFoundError:
            return None
        return payload

    def get_table(self, exchange: str) -> list[Any]:
        """Return the routes of an exchange."""
        file = self._file(exchange)
        try:
            return [Route(*row) for row in loads(file.read_bytes().decode())]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError) as error:
            set_aside(file, error)
            return []

    def _file(self, exchange: str) -> Path:
        return Path(self._exchange_file(exchange))  # type: ignore[attr-defined]  # newer than the types

    def queue_bind(self, *args: Any, **options: Any) -> None:
        """Bind a queue; a thread that finds it bound already may publish, so it waits until the route is written."""
        with _binding:
            super().queue_bind(*args, **options)

    def _queue_bind(self, exchange: str, routing_key: str | None, pattern: str | None, queue: str | None) -> None:
        route = Route(routing_key or "", pattern or "", queue or "")
        self._change(exchange, lambda routes: routes if route in routes else [route, *routes])

    def _delete(self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **options: Any) -> None:
        self._purge(queue)
        route = Route(routing_key or "", pattern or "", queue or "")
        self._change(exchange, lambda routes: [row for row in routes if row != route])

    def _change(self, exchange: str, change: Callable[[list[Any]], list[Any]]) -> None:
        """Replace the routes of an exchange; processes that change the same one wait for each other."""
        self.control_folder.mkdir(exist_ok=True)
        with locked(self.control_folder / "lock"):
            before = self.get_table(exchange)
            if (after := change(before)) != before:
                write_whole(self._file(exchange), dumps(after))


class Transport(filesystem.Transport):
    """Kombu's transport over files, with the channel above."""

    Channel = Channel
    global_state = virtual.BrokerState()

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """Return nothing: a directory has no host, and kombu would warn that none is named."""
        return {}


def register() -> None:
    """Make `embedded://` known to kombu."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"


def write_whole(file: Path, text: str) -> None:
    """Write a file that nobody sees before it is whole; raises OSError."""
    part = file.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_text(text)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def set_aside(file: Path, error: Exception) -> None:
    """Give a file that cannot be read a name that no reader looks for."""
    try:
        file.rename(file.with_name(f"{file.name}.unreadable"))
    except FileNotFoundError:
        return  # another process did
    logger.warning("broker: %s cannot be read (%s) and was set aside", file.name, error)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock between processes."""
    with file.open("a") as held:
        fcntl.flock(held.fileno(), fcntl.LOCK_EX)
        yield
