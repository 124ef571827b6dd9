"""Logs as JSON lines on stderr, with trace ids; the spans of calls. Exporting them is services/tracing.py's.

Neither holds what people sent: no requests, no parameters, no texts of unexpected exceptions.
"""

import io
import logging
import random
import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import grpc
import structlog
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from structlog.typing import Processor

from services.settings import TelemetrySettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Metadata = Sequence[tuple[str, str | bytes]]

# W3C Trace Context, version 00.
_TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


class _State:
    """What `configure` decided for this process."""

    def __init__(self) -> None:
        self.provider: TracerProvider | None = None
        self.tracer: trace.Tracer = trace.NoOpTracer()
        self.client_interceptors: Sequence[grpc.aio.ClientInterceptor] = ()
        self.calls: BinaryIO | None = None
        self.service = ""


_state = _State()


def configure(name: str, settings: TelemetrySettings) -> None:
    """Start logging and, where a collector is given, tracing. Once a process, before anything connects."""
    _configure_logs(name, settings.log_level)
    if settings.otlp_endpoint:
        # A third of a second of every start, for those alone who have a collector.
        from services import tracing  # noqa: PLC0415

        _state.provider = tracing.start(name, settings.otlp_endpoint)
        _state.tracer = _state.provider.get_tracer("commerce")
        _state.client_interceptors = tracing.client_interceptors(_state.provider)


def shutdown() -> None:
    """Send what is still held. Nothing is traced afterwards."""
    if _state.provider is not None:
        _state.provider.shutdown()


def client_interceptors() -> Sequence[grpc.aio.ClientInterceptor]:
    """Return what a channel needs so that its calls become spans."""
    return _state.client_interceptors


def outgoing_metadata() -> Metadata:
    """Return what makes the next service log under the same trace id."""
    if _state.provider is not None:
        return ()  # the client interceptors add it
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return ()
    return (("traceparent", f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"),)


def trace_id() -> str:
    """Return the current call's trace id, 32 hex digits, or "" outside of calls."""
    span = trace.get_current_span().get_span_context()
    return f"{span.trace_id:032x}" if span.is_valid else ""


@contextmanager
def server_span(method: str, metadata: Metadata) -> Iterator[Span]:
    """Take part in the caller's trace, or begin one; `method` is "/package.Service/Method".

    opentelemetry's own server interceptor is not used: it does not see statuses with details, and it
    must wrap each call anew. Without a collector nothing is recorded and only the ids are carried on.
    """
    if _state.provider is None:
        # A call has a context of its own, which ends with it: there is nothing to detach.
        span: Span = NonRecordingSpan(_remote_context(metadata))
        otel_context.attach(trace.set_span_in_context(span))
        yield span
        return
    parent = propagate.extract(
        {key: value for key, value in metadata if key in {"traceparent", "tracestate"}}
    )
    service, _, name = method[1:].partition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
    with _state.tracer.start_as_current_span(
        method[1:],
        context=parent,
        kind=SpanKind.SERVER,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def end_server_span(span: Span, code: grpc.StatusCode) -> None:
    """Record how the call ended; only failures of ours count as errors (OpenTelemetry, RPC spans)."""
    if not span.is_recording():
        return
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    if code in _OUR_FAULT:
        span.set_status(Status(StatusCode.ERROR))


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


def log_call(  # noqa: PLR0917  the line's fields, in order
    span: Span, method: str, caller: str, code: str, reason: str, seconds: float
) -> None:
    """Write the one line of a call. By hand: structlog's way would cost a twentieth of a small call.

    The fields are ours and need no escaping: names of the contract, reasons, SPIFFE segments.
    """
    if _state.calls is None:
        return
    ids = span.get_span_context()
    _state.calls.write(
        f'{{"event":"call","level":"info","service":"{_state.service}","method":"{method}","caller":"{caller}",'
        f'"code":"{code}","reason":"{reason}","duration_ms":{seconds * 1000:.2f},'
        f'"trace_id":"{ids.trace_id:032x}","span_id":"{ids.span_id:016x}",'
        f'"timestamp":"{datetime.now(UTC).isoformat()}"}}\n'.encode()
    )


def _remote_context(metadata: Metadata) -> SpanContext:
    for key, value in metadata:
        if key == "traceparent" and (match := _TRACEPARENT.fullmatch(str(value))):
            trace_hex, span_hex, flags = match.groups()
            return SpanContext(int(trace_hex, 16), int(span_hex, 16), True, TraceFlags(int(flags, 16)))
    return SpanContext(random.getrandbits(128) or 1, random.getrandbits(64) or 1, False, TraceFlags(0))


def _configure_logs(name: str, level: str) -> None:
    number = logging.getLevelNamesMapping()[level.upper()]
    _state.service = name
    _state.calls = io.FileIO(sys.stderr.fileno(), "w", closefd=False) if number <= logging.INFO else None
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_ids,
        _without_exception_texts,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    # Libraries speak when something is wrong.
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def _add_ids(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["service"] = _state.service
    if identifier := trace_id():
        event["trace_id"] = identifier
    return event


def _without_exception_texts(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep types and places: the texts may quote what a caller sent or what a row holds."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["exception"] = [line for each in _chain(error) for line in _describe(each)]
    return event


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        if isinstance(current, BaseExceptionGroup):
            current = current.exceptions[0]
        else:
            current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _describe(error: BaseException) -> Iterator[str]:
    yield f"{type(error).__module__}.{type(error).__qualname__}"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno} {frame.name}"
