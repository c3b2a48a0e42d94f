"""Receivers on loopback, shaped like the real ones: Slack, PagerDuty and webhooks over HTTP, and a mail server.

Each keeps what it took; `behave` says how it answers from now on.
"""

import json
import socket
import socketserver
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Taken:
    """One request: when it was answered, where to, with what."""

    at: float
    path: str
    headers: dict[str, str]
    body: Any
    raw: bytes


@dataclass
class Receiver:
    """An HTTP receiver; `status` is its answer, given after `delay_seconds`."""

    port: int = 0
    status: int = 200
    delay_seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    taken: list[Taken] = field(default_factory=list)
    refused: list[Taken] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def behave(self, status: int = 200, *, delay_seconds: float = 0.0, **headers: str) -> None:
        self.status, self.delay_seconds = status, delay_seconds
        self.headers = {name.replace("_", "-"): text for name, text in headers.items()}

    def keys(self) -> dict[str, list[str]]:
        """Return {dedup key: actions in the order they came}, of webhooks and PagerDuty events."""
        found: dict[str, list[str]] = defaultdict(list)
        for one in self.taken:
            if "routing_key" in one.body:
                found[one.body["dedup_key"]].append(one.body["event_action"])
            else:
                found[one.body["alert"]["dedup_key"]].append(one.body["action"])
        return dict(found)

    def answer(self, taken: Taken) -> int:
        status = self.status
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        time.sleep(self.delay_seconds)
        with self._lock:
            self._at_once -= 1
        taken.at = time.monotonic()
        (self.taken if status < 300 else self.refused).append(taken)
        return status


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver: Receiver = self.server.receiver  # type: ignore[attr-defined]
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        taken = Taken(0.0, self.path, dict(self.headers), json.loads(raw), raw)
        status = receiver.answer(taken)
        self.send_response(status)
        for name, text in receiver.headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *args: Any) -> None:
        """A sender that is killed hangs up; that is the point of some tests."""


@contextmanager
def http(port: int = 0) -> Iterator[Receiver]:
    """Run an HTTP receiver."""
    server = Server(("127.0.0.1", port), Handler)
    receiver = Receiver(port=int(server.server_address[1]))
    server.receiver = receiver  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


# --- mail ------------------------------------------------------------------------------------------------------------


@dataclass
class Mailbox:
    """A mail server; `refuse` is answered to RCPT instead of 250."""

    port: int = 0
    mails: list[Message] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    refuse: bytes = b""
    context: ssl.SSLContext | None = None

    def keys(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for mail in self.mails:
            found[mail["X-Moolai-Dedup-Key"]].append(mail["X-Moolai-Event"].removeprefix("alert."))
        return dict(found)


class MailHandler(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as smtplib speaks."""

    def handle(self) -> None:
        box: Mailbox = self.server.box  # type: ignore[attr-defined]
        self.to: list[str] = []
        self.say(b"220 mail.example ESMTP")
        while line := self.rfile.readline():
            word, _, rest = line.strip().partition(b" ")
            if not self.obey(box, word.upper(), rest):
                return

    def obey(self, box: Mailbox, word: bytes, rest: bytes) -> bool:
        if word == b"EHLO":
            self.say(b"250-mail.example\r\n250-AUTH PLAIN" + (b"\r\n250 STARTTLS" if box.context else b"\r\n250 OK"))
        elif word == b"STARTTLS" and box.context:
            self.say(b"220 go")
            self.connection = box.context.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        elif word == b"AUTH":
            box.logins.append(rest.decode())
            self.say(b"235 welcome")
        elif word == b"RCPT":
            self.to.append(rest.decode())
            self.say(box.refuse or b"250 ok")
        elif word == b"DATA":
            self.say(b"354 go")
            lines = []
            while (line := self.rfile.readline()) and line != b".\r\n":
                lines.append(line[1:] if line.startswith(b".") else line)
            box.mails.append(message_from_bytes(b"".join(lines)))
            box.recipients.append(self.to)
            self.to = []
            self.say(b"250 taken")
        else:
            self.say(b"221 bye" if word == b"QUIT" else b"250 ok")
            return word != b"QUIT"
        return True

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def say(self, words: bytes) -> None:
        self.wfile.write(words + b"\r\n")


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, *args: Any) -> None:
        """A sender that is killed hangs up."""


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """Run a mail server."""
    server = MailServer(("127.0.0.1", 0), MailHandler)
    box = Mailbox(port=int(server.server_address[1]))
    server.box = box  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield box
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def silence() -> Iterator[int]:
    """Listen on a port and never answer: a receiver that hangs."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield int(server.getsockname()[1])
