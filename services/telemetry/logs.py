"""Logs as JSON lines on stderr, one line a call, with trace ids. Exporting spans is tracing.py's.

Neither holds what people sent: no requests, no parameters, no texts of unexpected exceptions.
"""

import asyncio
import io
import logging
import random
import re
import sys
import time
import traceback
from collections.abc import Iterator, MutableMapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import structlog
from structlog.typing import Processor

from services.settings import TelemetrySettings
from services.telemetry.metadata import Metadata

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from services.telemetry.tracing import Tracing

# When it ended, method, caller, code, reason, seconds, trace id.
_Line: TypeAlias = tuple[float, str, str, str, str, float, str]

# W3C Trace Context, version 00.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_traceparent: ContextVar[str] = ContextVar("traceparent", default="")

# Lines of calls are written together: a write each would wake whoever reads the log as often.
_FLUSH_SECONDS = 0.1
# Within PIPE_BUF, so that lines of several processes on one pipe stay whole.
_LINES_AT_ONCE = 10


class _CallLog:
    """The lines of calls, by hand: structlog's way would cost a tenth of a small call."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._lines: list[_Line] = []
        self._file = io.FileIO(sys.stderr.fileno(), "w", closefd=False)

    def add(self, line: _Line) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)
        self._lines.append(line)

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        for start in range(0, len(lines), _LINES_AT_ONCE):
            self._file.write("".join(map(self._format, lines[start : start + _LINES_AT_ONCE])).encode())

    def _format(self, line: _Line) -> str:
        ended_at, method, caller, code, reason, seconds, trace = line
        # All of it is ours and needs no escaping: names of the contract, reasons, SPIFFE segments.
        return (
            f'{{"event":"call","level":"info","service":"{self._service}","method":"{method}",'
            f'"caller":"{caller}","code":"{code}","reason":"{reason}","duration_ms":{seconds * 1000:.2f},'
            f'"trace_id":"{trace}","timestamp":"{datetime.fromtimestamp(ended_at, UTC).isoformat()}"}}\n'
        )


@dataclass
class _Process:
    """What `configure` decided for this process."""

    service: str = ""
    calls: _CallLog | None = None
    tracing: "Tracing | None" = None


_process = _Process()


def configure(name: str, settings: TelemetrySettings) -> None:
    """Start logging and, where a collector is given, tracing. Once a process, before anything connects."""
    _configure_logs(name, settings.log_level)
    if settings.otlp_endpoint:
        # A third of a second of every start, for those alone who have a collector.
        from services.telemetry.tracing import Tracing  # noqa: PLC0415

        _process.tracing = Tracing(name, settings.otlp_endpoint)


def shutdown() -> None:
    """Write and send what is still held."""
    if _process.calls is not None:
        _process.calls.flush()
    if _process.tracing is not None:
        _process.tracing.shutdown()


def client_interceptors() -> Sequence[grpc.aio.ClientInterceptor]:
    """Return what a channel needs so that its calls become spans."""
    return () if _process.tracing is None else _process.tracing.client_interceptors


def outgoing_metadata() -> Metadata:
    """Return what makes the next service log under the same trace id."""
    traceparent = _traceparent.get()
    # With a collector the client interceptors say more: the span of this very call.
    return () if _process.tracing is not None or not traceparent else (("traceparent", traceparent),)


def trace_id() -> str:
    """Return the current call's trace id, 32 hex digits, or "" outside of calls."""
    return _traceparent.get()[3:35]


def begin_call(method: str, metadata: Metadata) -> "Span | None":
    """Take part in the caller's trace, or begin one; `method` is "/package.Service/Method".

    Without a collector nothing is recorded and the ids are only carried on. The call's context ends with
    the call, so that nothing has to be undone.
    """
    if _process.tracing is None:
        _traceparent.set(_received(metadata) or _begun())
        return None
    span, traceparent = _process.tracing.begin(method, metadata)
    _traceparent.set(traceparent)
    return span


def end_span(span: "Span | None", code: str) -> None:
    """End what `begin_call` has begun."""
    if span is not None and _process.tracing is not None:
        _process.tracing.end(span, grpc.StatusCode[code])


def tell_call(method: str, caller: str, code: str, reason: str, seconds: float) -> None:
    """Write the one line of a call."""
    if _process.calls is not None:
        _process.calls.add((time.time(), method, caller, code, reason, seconds, trace_id()))


def _received(metadata: Metadata) -> str:
    for key, value in metadata:
        if key == "traceparent" and isinstance(value, str) and _TRACEPARENT.fullmatch(value):
            return value
    return ""


def _begun() -> str:
    ids = f"{random.getrandbits(192):048x}"
    return f"00-{ids[:32]}-{ids[32:]}-00"


def _configure_logs(name: str, level: str) -> None:
    number = logging.getLevelNamesMapping()[level.upper()]
    _process.service = name
    _process.calls = _CallLog(name) if number <= logging.INFO else None
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
            foreign_pre_chain=[*shared, _first_line],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    # Libraries speak when something is wrong.
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    # The interpreter would print the text of what ends the process.
    sys.excepthook = _log_uncaught


def _add_ids(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["service"] = _process.service
    if identifier := trace_id():
        event["trace_id"] = identifier
    return event


def _first_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep what a library says happened: asyncio adds lines that show the task, and with it the exception."""
    event["event"] = str(event["event"]).partition("\n")[0]
    return event


def _log_uncaught(_: type[BaseException], error: BaseException, __: object) -> None:
    structlog.get_logger(__name__).critical("the process ends by an exception", exc_info=error)


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
    # Constraints are named by us.
    name = getattr(error, "constraint_name", None)
    yield f"{type(error).__module__}.{type(error).__qualname__}" + (f" {name}" if name else "")
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno} {frame.name}"
