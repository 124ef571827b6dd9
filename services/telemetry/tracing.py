"""Spans sent to an OpenTelemetry collector: of our calls, their queries and their cache commands.

Imported only where a collector is given.
"""

from collections.abc import Sequence
from typing import Any

import grpc
from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.grpc import aio_client_interceptors
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from services.telemetry.metadata import Metadata

_TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
_OUR_FAULT = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
# A collector that is away must not hold up the end of a process.
_EXPORT_TIMEOUT_SECONDS = 2


class Tracing:
    """Records spans from now on. OTEL_TRACES_SAMPLER says of how many calls; unset: of all.

    The edge marks what it begins as sampled, so `traceidratio` keeps a share, which judges by the id alone.
    """

    def __init__(self, name: str, otlp_endpoint: str) -> None:
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: f"commerce-{name}"}))
        exporter = OTLPSpanExporter(endpoint=otlp_endpoint, timeout=_EXPORT_TIMEOUT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(_WithoutTexts(exporter)))
        self._tracer = self._provider.get_tracer("commerce")
        trace.set_tracer_provider(self._provider)
        # The instrumentations publish no types.
        database: Any = AsyncPGInstrumentor
        database(capture_parameters=False).instrument(tracer_provider=self._provider)
        RedisInstrumentor().instrument(tracer_provider=self._provider)
        make: Any = aio_client_interceptors
        self.client_interceptors: Sequence[grpc.aio.ClientInterceptor] = tuple(
            make(tracer_provider=self._provider)
        )

    def begin(self, method: str, metadata: Metadata) -> tuple[Span, str]:
        """Begin the span of a call that came in; return it and what W3C calls its traceparent.

        opentelemetry's own server interceptor is not used: it does not see statuses with details, and it
        cannot surround a handler that writes its stream itself.
        """
        parent = propagate.extract({key: value for key, value in metadata if key in _TRACE_HEADERS})
        service, _, name = method[1:].partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        span = self._tracer.start_span(
            method[1:], context=parent, kind=SpanKind.SERVER, attributes=attributes
        )
        context.attach(trace.set_span_in_context(span, parent))
        ids = span.get_span_context()
        return span, f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags:02x}"

    def end(self, span: Span, code: grpc.StatusCode) -> None:
        """End a call's span; only failures of ours count as errors (OpenTelemetry, RPC spans)."""
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code in _OUR_FAULT:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def shutdown(self) -> None:
        """Send what is still held."""
        self._provider.shutdown()


class _WithoutTexts(SpanExporter):
    """Drops the texts of exceptions: PostgreSQL's quote the row, which may hold personal data."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_without_texts(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _without_texts(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
