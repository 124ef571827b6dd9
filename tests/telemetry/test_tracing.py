"""Spans leave the process without the texts of exceptions."""

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

from services.telemetry.tracing import _WithoutTexts


def test_exported_span_says_that_it_failed_and_not_with_what_text() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_WithoutTexts(kept)))
    with provider.get_tracer("test").start_as_current_span(
        "INSERT", attributes={"db.system": "postgresql"}
    ) as span:
        span.record_exception(ValueError("Key (email)=(canary@example.com) already exists."))
        span.set_status(Status(StatusCode.ERROR, "canary@example.com"))
    (exported,) = kept.get_finished_spans()
    assert (exported.name, exported.status.status_code) == ("INSERT", StatusCode.ERROR)
    assert exported.attributes == {"db.system": "postgresql"}
    assert "canary" not in exported.to_json()
