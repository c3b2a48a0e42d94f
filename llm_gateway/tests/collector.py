"""A receiver of traces over OTLP/HTTP: a real HTTP server that keeps the spans it is sent, decoded and as they came."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATH = "/v1/traces"


@dataclass
class Collector:
    """The receiver's address and what it got."""

    port: int = 0
    raw: list[bytes] = field(default_factory=list)
    spans: list[Any] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, path: str, content: bytes) -> None:
        """Keep what an exporter sends."""
        assert path == PATH
        self.raw.append(content)
        request = ExportTraceServiceRequest.FromString(content)
        for found in request.resource_spans:
            self.resources.append(attributes(found.resource))
            self.spans += [span for scope in found.scope_spans for span in scope.spans]

    def of(self, **wanted: Any) -> list[Any]:
        """Return the spans with these attributes, their dots written as two underscores."""
        items = {name.replace("__", "."): value for name, value in wanted.items()}.items()
        return [span for span in self.spans if items <= hashable(attributes(span)).items()]


def attributes(holder: Any) -> dict[str, Any]:
    """Return the attributes of a span, an event or a resource."""
    return {pair.key: _value(pair.value) for pair in holder.attributes}


def hashable(found: dict[str, Any]) -> dict[str, Any]:
    """Return attributes that can be compared as sets."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@contextmanager
def running() -> Iterator[Collector]:
    """Receive on a free port of loopback."""
    collector = Collector()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            is_packed = self.headers.get("Content-Encoding") == "gzip"
            collector.take(self.path, gzip.decompress(content) if is_packed else content)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    collector.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
