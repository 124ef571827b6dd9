"""Spans sent to an OpenTelemetry collector: of our calls, their queries and their cache commands.

Imported only where a collector is given.
"""

from collections.abc import Sequence
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.grpc import aio_client_interceptors
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status


# A collector that is away must not hold up the end of a process.
_EXPORT_TIMEOUT_SECONDS = 2


def start(name: str, otlp_endpoint: str) -> TracerProvider:
    """Record spans from now on. OTEL_TRACES_SAMPLER says how many; unset: all."""
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: f"commerce-{name}"}))
    exporter = OTLPSpanExporter(endpoint=otlp_endpoint, timeout=_EXPORT_TIMEOUT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(_WithoutTexts(exporter)))
    trace.set_tracer_provider(provider)
    asyncpg_instrumentor: Any = AsyncPGInstrumentor
    asyncpg_instrumentor(capture_parameters=False).instrument(tracer_provider=provider)
    RedisInstrumentor().instrument(tracer_provider=provider)
    return provider


def client_interceptors(provider: TracerProvider) -> Sequence[grpc.aio.ClientInterceptor]:
    """Return what makes a channel's calls spans, and hands the trace on."""
    make: Any = aio_client_interceptors
    return tuple(make(tracer_provider=provider))


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
