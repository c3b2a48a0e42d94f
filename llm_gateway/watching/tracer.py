"""The thread that tells OpenTelemetry of calls, where that is configured; else it is not imported.

Spans wait in memory, MAX_WAITING of them; those that are too many are dropped. Sampling, batches, headers and the
resource are the SDK's, set by its own variables (OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_BSP_…).
"""

import logging
import threading
from collections import deque
from typing import Any, Final

from django.conf import settings

from llm_gateway.watching.spans import Span
from orchestrators import nodes

logger = logging.getLogger(__name__)
INTERVAL_SECONDS: Final = 0.5
MAX_WAITING: Final = 4_096
STOP_SECONDS: Final = 5.0
SCOPE: Final = "moolai.llm_gateway"


def begun() -> "Tracer | None":
    """Return a tracer, None where nobody is to be told."""
    return Tracer() if settings.OTEL_TRACES_ENABLED else None


class Tracer:
    """Turns calls that are over into spans, in a thread of its own; the SDK sends them, in another."""

    def __init__(self) -> None:
        self._waiting: deque[Span] = deque(maxlen=MAX_WAITING)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gateway-traces", daemon=True)
        self._thread.start()

    def put(self, span: Span) -> None:
        """Have a call told of."""
        self._waiting.append(span)

    def stop(self) -> None:
        """Tell what there is."""
        self._is_over.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            provider = _provider()
        except Exception:
            logger.exception("traces cannot be sent")
            return
        tracer = provider.get_tracer(SCOPE, settings.VERSION)
        while not self._is_over.wait(INTERVAL_SECONDS):
            self._flush(tracer)
        self._flush(tracer)
        provider.shutdown()

    def _flush(self, tracer: Any) -> None:
        while self._waiting:
            try:
                record(tracer, self._waiting.popleft())
            except Exception as error:
                logger.error("a span could not be made: %s", type(error).__name__)


def _provider() -> Any:
    """Return the SDK's provider with its exporter over OTLP/HTTP."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    about = {
        "service.name": settings.OTEL_SERVICE_NAME,
        "service.version": settings.VERSION,
        "service.instance.id": nodes.process(),
    }
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def record(tracer: Any, span: Span) -> None:
    """Make a span of a call, under its caller's, if that said so."""
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract(span.parent)
    if span.tail is not None and (reasons := span.tail.reasons()):
        span.attributes["gen_ai.response.finish_reasons"] = reasons
    made = tracer.start_span(
        span.name, context=context, kind=SpanKind.CLIENT, attributes=span.attributes, start_time=span.start_ns
    )
    for at_ns, attributes in span.attempts:
        made.add_event("attempt", attributes, timestamp=at_ns)
    if span.error:
        made.set_status(Status(StatusCode.ERROR, span.error))
    made.end(span.end_ns)
