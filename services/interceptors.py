"""The server's one interceptor: errors ⊃ deadline ⊃ identity ⊃ policy ⊃ validation, around every method.

Refusals come in the edge's order: unknown method, token, access, size, malformed, rules of the contract.
Health, reflection and channelz pass: for them a certificate of ours is enough.
"""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from services import telemetry
from services.deadline import is_over, set_remaining
from services.errors import (
    CallerNotAllowed,
    Code,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MethodUnknown,
    Overloaded,
    RequestTooLarge,
    ScopeMissing,
    ServiceError,
    ServiceUnavailable,
    TokenMissing,
)
from services.identity import Claims, TokenVerifier, anonymous, calling_service, peer_service, set_caller
from services.policy import Access, MethodPolicy, policies
from services.postgres import database_failure
from services.status import DETAILS_KEY, to_status
from services.validation import violations_in

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"

log = structlog.get_logger(__name__)

# Work that cannot be finished is not begun: nobody would see its end.
MINIMUM_SECONDS = 0.1
_BEARER = "Bearer "
_EDGE = "edge"

_metadata: ContextVar[telemetry.Metadata] = ContextVar("metadata")


class Chain(grpc.aio.ServerInterceptor):
    """Wraps each method of the contract once, and knows what runs: to refuse too much, and to stop."""

    def __init__(self, verifier: TokenVerifier, max_concurrent_calls: int) -> None:
        self.verifier = verifier
        self.is_stopping = False
        self._free = max_concurrent_calls
        self._streams: set[asyncio.Task[Any]] = set()
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """Return the handler of a call with the chain around it."""
        # Read once here: the context would copy it anew each time.
        _metadata.set(handler_call_details.invocation_metadata)
        handler = self._handlers.get(handler_call_details.method)
        return handler or await self._find(continuation, handler_call_details)

    def stop_streams(self) -> None:
        """End the streams that have no end of their own; their readers resume at another process."""
        self.is_stopping = True
        for task in self._streams:
            task.cancel()

    def begin_call(self) -> None:
        """Take one of the places for calls.

        Raises:
            Overloaded: there is none.
        """
        if self._free <= 0:
            raise Overloaded("the service has too much to do")
        self._free -= 1

    def end_call(self) -> None:
        """Give the place back."""
        self._free += 1

    def begin_stream(self) -> None:
        """Know a stream while it runs; streams wait most of the time and take no place.

        Raises:
            ServiceUnavailable: it would be ended at once.
        """
        if self.is_stopping:
            raise _stopping()
        self._streams.add(_current_task())

    def end_stream(self) -> None:
        """Forget it."""
        self._streams.discard(_current_task())

    async def _find(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Handler:
        handler = await continuation(details)
        if handler is None:
            return _UNKNOWN_METHOD
        policy = policies().get(details.method)
        if policy is not None:
            handler = _Method(self, policy, handler).handler()
        self._handlers[details.method] = handler
        return handler


class _Method:
    """One method behind the chain, with everything about it that is known before a call."""

    def __init__(self, chain: Chain, policy: MethodPolicy, inner: Handler) -> None:
        self._chain = chain
        self._policy = policy
        # Generated code sets all three; the types leave them open.
        handler: Any = inner
        self._parse: Callable[[bytes], Message] = handler.request_deserializer
        self._serialize: Callable[[Any], bytes] = handler.response_serializer
        self._behavior: Callable[[Any, Context], Any] = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        self._read_request = self._read_all if policy.client_streaming else self._read
        self._answer = self._answer_many if policy.server_streaming else self._answer_one
        self._begin = chain.begin_stream if policy.server_streaming else chain.begin_call
        self._end = chain.end_stream if policy.server_streaming else chain.end_call
        self._sends_etag = policy.cache is not None and policy.cache.etag

    def handler(self) -> Handler:
        """Return what gRPC calls: it takes bytes, and writes streams itself so that it sees their end."""
        make: Any = _MAKERS[self._policy.client_streaming, self._policy.server_streaming]
        handler: Handler = make(
            self._guarded, None, self._serialize if self._policy.server_streaming else None
        )
        return handler

    async def _guarded(self, request: Any, context: Context) -> bytes | None:
        """Turn whatever happens inside into a status, a span's end and one line in the log: errors."""
        started = time.perf_counter()
        method = self._policy.method
        span = telemetry.begin_call(method, _metadata.get())
        code, reason = "OK", ""
        try:
            return await self._bounded(request, context)
        except grpc.aio.AbortError:
            code = context.code().name
            raise
        except (Exception, asyncio.CancelledError) as error:
            failure = self._failure(error)
            if failure is None:
                code = Code.DEADLINE_EXCEEDED if is_over() else Code.CANCELLED
                raise
            code, reason = failure.code, failure.reason
            await abort(context, failure)
        finally:
            telemetry.end_call(span, method, calling_service(), code, reason, time.perf_counter() - started)

    async def _bounded(self, request: Any, context: Context) -> bytes | None:
        """Bound the work by the shorter of the caller's and the contract's limit: deadline."""
        asked, allowed = context.time_remaining(), self._policy.deadline_seconds
        self._begin()
        try:
            if asked is not None and (allowed is None or asked <= allowed):
                # gRPC cancels the call when its caller's time is over: a timer of ours would be the second.
                set_remaining(_enough(asked))
                return await self._checked(request, context)
            set_remaining(allowed)
            async with asyncio.timeout(allowed):
                return await self._checked(request, context)
        finally:
            self._end()

    async def _checked(self, request: Any, context: Context) -> bytes | None:
        """Find out who calls and whether they may: identity ⊃ policy."""
        token = _bearer_token(_metadata.get())
        service = peer_service(context)
        if token is None:
            claims = None
            set_caller(anonymous(service))
        else:
            verifier = self._chain.verifier
            claims = verifier.verified(token) or await verifier.verify(token)
            set_caller(claims.caller(service, self._policy.any_owner))
        self._check_access(service, claims)
        return await self._answer(self._read_request(request), context)

    def _check_access(self, service: str, claims: Claims | None) -> None:
        policy = self._policy
        if policy.access is Access.INTERNAL and service not in policy.services:
            raise CallerNotAllowed("the calling service may not call this method")
        if policy.access is Access.SCOPED:
            if claims is None:
                raise TokenMissing("an access token is required")
            if policy.scopes.isdisjoint(claims.scopes):
                raise ScopeMissing("the access token does not allow this")

    def _read(self, raw: bytes) -> Message:
        """Check size, then wire format, then the contract's rules: validation."""
        if len(raw) > self._policy.max_request_bytes:
            raise RequestTooLarge(f"the request is larger than {self._policy.max_request_bytes} bytes")
        try:
            request = self._parse(raw)
        except DecodeError:
            raise InvalidArgument("the request cannot be decoded") from None
        if violations := violations_in(request):
            first = violations[0]
            raise InvalidArgument(f"{first.field}: {first.description}", violations=violations)
        return request

    async def _read_all(self, raw_messages: AsyncIterable[bytes]) -> AsyncIterator[Message]:
        async for raw in raw_messages:
            yield self._read(raw)

    async def _answer_one(self, request: Any, context: Context) -> bytes:
        response = await self._behavior(request, context)
        payload = self._serialize(response)
        # A message of its own, so for the edge alone, which makes a header of it; and after the work, because
        # metadata sent earlier would forbid the caller's channel to retry.
        if self._sends_etag and calling_service() == _EDGE:
            await context.send_initial_metadata((("etag", f'"{response.etag}"'),))
        return payload

    async def _answer_many(self, request: Any, context: Context) -> None:
        async with aclosing(self._behavior(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    def _failure(self, error: BaseException) -> ServiceError | None:
        """Return what the caller is told; None when nobody listens any more."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, ServiceError):
            return error
        if isinstance(error, asyncio.CancelledError) and (task := _current_task()).cancelling():
            if not (self._chain.is_stopping and self._policy.server_streaming):
                return None
            task.uncancel()
            return _stopping()
        if isinstance(error, TimeoutError):
            return DeadlineExceeded("the deadline passed")
        if (failure := database_failure(error)) is not None:
            return failure
        log.error("call failed unexpectedly", method=self._policy.method, exc_info=error)
        return Internal("an unexpected error happened; it has been recorded")


async def abort(context: Context, error: ServiceError) -> NoReturn:
    """End a call with the error's status, its details and the trace id to find it by."""
    details = to_status(error, telemetry.trace_id()).SerializeToString()
    await context.abort(grpc.StatusCode[error.code], error.message, ((DETAILS_KEY, details),))


async def _refuse_unknown(_: AsyncIterable[bytes], context: Context) -> None:
    await abort(context, MethodUnknown("there is no such method"))


# By (client streams, server streams).
_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}

# A stream, because the first message of an unknown call may never come.
_UNKNOWN_METHOD: Handler = grpc.stream_stream_rpc_method_handler(_refuse_unknown)


def _enough(seconds: float) -> float:
    if seconds < MINIMUM_SECONDS:
        raise DeadlineExceeded("the deadline leaves no time for the work")
    return seconds


def _bearer_token(metadata: telemetry.Metadata) -> str | None:
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str) and value.startswith(_BEARER):
            return value.removeprefix(_BEARER)
    return None


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("called outside of a task")
    return task


def _stopping() -> ServiceUnavailable:
    return ServiceUnavailable("the service is stopping; resume the stream")
