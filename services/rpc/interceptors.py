"""The server's one interceptor: errors ⊃ deadline ⊃ identity ⊃ policy ⊃ validation, around every method.

Refusals come in the edge's order: unknown method, token, access, size, malformed, rules of the contract.
Health, reflection and channelz run in it too, with rules of their own (services/rpc/checks.py).
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Hashable
from contextlib import aclosing
from functools import partial
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from services.errors import (
    CallerNotAllowed,
    ClientNotAllowed,
    Code,
    DeadlineExceeded,
    InvalidArgument,
    MethodUnknown,
    RequestLate,
    RequestMissing,
    RequestTooLarge,
    ScopeMissing,
    ServiceError,
    ServiceUnavailable,
    StreamIdle,
    TokenMissing,
    first_of,
)
from services.process import current_task
from services.roster import EDGE, PEERS
from services.rpc import failures
from services.rpc.checks import policy_of_check
from services.rpc.deadline import is_over, remaining_seconds, set_remaining
from services.rpc.identity import (
    Claims,
    TokenVerifier,
    anonymous,
    calling_service,
    edge_asks_for_itself,
    set_caller,
)
from services.rpc.places import CallerQueues, Places, Room
from services.rpc.policy import Access, MethodPolicy, policies
from services.rpc.sources import call_metadata, peer_service, read_metadata, source_of
from services.rpc.status import as_sent
from services.rpc.validation import violations_in
from services.rpc.written import bytes_of, told_with
from services.telemetry import logs

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"

_STOPPING = "the service is stopping; resume the stream"
# Work that cannot be finished is not begun: nobody would see its end.
MINIMUM_SECONDS = 0.1
# For the message of a unary call, which our own channels send with its headers and the edge once it has it
# all: this is for what the network loses on the way. No longer than any deadline of the contract.
MESSAGE_SECONDS = 2.0
# Calls whose token is being verified or whose message is on its way, apart from those that work. Far more,
# because after a pause all calls of many people come at once, from the one address of their network.
_ARRIVING_CALLS = 2_000
_ARRIVING_CALLS_OF_ONE = 500
# Of one person or address. With one who asks for lists without an end, somebody else's read took 20 ms of the
# process's time; with eight at once it took 285, because gRPC hands over new calls one by one.
_WORKED_ON_AT_ONCE = 4
# Health checks and questions of operators, which must be answered when everything else is full.
_CHECKS = 50


class Chain(grpc.aio.ServerInterceptor):
    """Wraps each method of the contract once, and knows what runs: to refuse too much, and to stop."""

    def __init__(self, verifier: TokenVerifier, max_concurrent_calls: int) -> None:
        self.verifier = verifier
        self.is_stopping = False
        self.arriving = Room.apart(_ARRIVING_CALLS, _ARRIVING_CALLS_OF_ONE)
        self.working = Room.for_calls(max_concurrent_calls)
        self.queues = CallerQueues(_WORKED_ON_AT_ONCE)
        self._checks = Room.for_calls(_CHECKS)
        self._streams: set[asyncio.Task[Any]] = set()
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """Return the handler of a call with the chain around it."""
        # Read once here: the context would copy it anew each time.
        call_metadata.set(handler_call_details.invocation_metadata)
        handler = self._handlers.get(handler_call_details.method)
        return handler or await self._find(continuation, handler_call_details)

    def stop_streams(self) -> None:
        """End the streams that have no end of their own; their readers resume at another process."""
        self.is_stopping = True
        for task in self._streams:
            task.cancel()

    def begin_stream(self) -> None:
        """Know a stream while it runs.

        Raises:
            ServiceUnavailable: it would be ended at once.
        """
        if self.is_stopping:
            raise ServiceUnavailable(_STOPPING)
        self._streams.add(current_task())

    def end_stream(self) -> None:
        """Forget it."""
        self._streams.discard(current_task())

    async def _find(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Handler:
        handler = await continuation(details)
        if handler is None:
            return _UNKNOWN_METHOD
        policy = policies().get(details.method)
        if policy is not None:
            method = _Method(self, policy, handler, self._room(policy, self.working))
        else:
            policy = policy_of_check(
                details.method,
                client_streaming=handler.request_streaming,
                server_streaming=handler.response_streaming,
            )
            method = _Method(self, policy, handler, self._room(policy, self._checks), is_ours=False)
        # Wrapped twice by two first calls, it would be counted twice.
        return self._handlers.setdefault(details.method, method.handler())

    @staticmethod
    def _room(policy: MethodPolicy, for_calls: Room) -> Room:
        """Return where a method's calls are counted: streams by themselves, because they stay."""
        streams = policy.streams
        return for_calls if streams is None else Room.for_streams(streams.total, streams.per_caller)


class _Method:
    """One method behind the chain, with everything about it that is known before a call."""

    def __init__(
        self, chain: Chain, policy: MethodPolicy, inner: Handler, room: Room, *, is_ours: bool = True
    ) -> None:
        self._chain = chain
        self._policy = policy
        self._room = room
        self._is_ours = is_ours
        # Generated code sets all three; the types leave them open.
        handler: Any = inner
        self._parse: Callable[[bytes], Message] = handler.request_deserializer
        # In one order, also the entries of a map: a version has the same bytes from every process.
        self._serialize: Callable[[Any], bytes] = partial(handler.response_serializer, deterministic=True)
        self._behavior: Callable[[Any, Context], Any] = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        self._answer = self._answer_many if policy.server_streaming else self._answer_one
        self._idle_seconds = policy.streams.idle_seconds if policy.streams is not None else None
        self._sends_etag = policy.sends_etag

    def handler(self) -> Handler:
        """Return what gRPC calls: it takes bytes, and writes streams itself so that it sees their end.

        All take a stream of requests, as which gRPC waits for none of them: a caller who never sends the one
        message of a unary call would otherwise be waited for before anything here could know of it.
        """
        if self._policy.server_streaming:
            return grpc.stream_stream_rpc_method_handler(self._guarded, None, self._serialize)
        return grpc.stream_unary_rpc_method_handler(self._guarded)

    async def _guarded(self, _: AsyncIterable[bytes], context: Context) -> bytes | None:
        """Turn whatever happens inside into a status, a span's end and one line in the log: errors."""
        started = time.perf_counter()
        # A line for each health check, or for what the mesh asks itself, would be most of the log.
        span = logs.begin_call(self._policy.method, call_metadata.get()) if self._is_ours else None
        code, reason = "OK", ""
        try:
            return await self._bounded(context)
        except grpc.aio.AbortError:
            code = context.code().name
            raise
        except (Exception, asyncio.CancelledError) as error:
            failure = self._failure(error)
            if failure is None:
                code = Code.DEADLINE_EXCEEDED if is_over() else Code.CANCELLED
                raise
            code, reason = failure.code, failure.reason
            failures.check_named(self._policy, reason)
            await abort(context, failure)
        finally:
            logs.end_span(span, code)
            if self._is_ours and not (code == "OK" and self._is_own()):
                took = time.perf_counter() - started
                logs.tell_call(self._policy.method, calling_service(), code, reason, took)

    def _is_own(self) -> bool:
        """Whether the mesh asks itself, as each thread of the edge does for the keys of tokens."""
        policy = self._policy
        return (
            policy.access is Access.PUBLIC and policy.is_cached and edge_asks_for_itself(call_metadata.get())
        )

    async def _bounded(self, context: Context) -> bytes | None:
        """Bound the work by the shorter of the caller's and the contract's limit: deadline."""
        service = peer_service(context)
        # Before anything is refused: the call's line names the service also where no more is known.
        set_caller(anonymous(service))
        asked, allowed = context.time_remaining(), self._policy.deadline_seconds
        if asked is not None and (allowed is None or asked <= allowed):
            # gRPC cancels the call when its caller's time is over: a timer of ours would be the second.
            set_remaining(_enough(asked))
            return await self._counted(service, context)
        set_remaining(allowed)
        async with asyncio.timeout(allowed):
            return await self._counted(service, context)

    async def _counted(self, service: str, context: Context) -> bytes | None:
        """Count the call against its caller, as arriving until its message is there, then at its place."""
        token, forwarded_for = read_metadata(call_metadata.get())
        source = source_of(service, forwarded_for)
        is_peer = source == service and service in PEERS
        arriving = self._chain.arriving.of(is_service=is_peer)
        arriving.take(source)
        try:
            claims = await self._checked(service, token)
            raw = None if self._policy.client_streaming else await self._message(context)
        finally:
            arriving.give_back(source)
        caller = source if claims is None else claims.subject
        # Services call for many people at once, and streams stay.
        is_peer = is_peer and claims is None
        if is_peer or self._policy.streams is not None:
            # What a call may do is judged once, and a stream goes on for long.
            with self._chain.verifier.watched(claims):
                places = self._room.of(is_service=is_peer, is_guest=claims is None and source != service)
                return await self._placed(places, caller, raw, context)
        async with self._chain.queues.turn(caller):
            return await self._placed(self._room.people, caller, raw, context)

    async def _placed(self, at: Places, who: Hashable, raw: bytes | None, context: Context) -> bytes | None:
        at.take(who)
        # Not when the work has ended, but when the answer has gone: who does not read it keeps the place. A
        # callback of the context would do too, but in a reference cycle that the collector alone frees.
        current_task().add_done_callback(lambda _: at.give_back(who))
        request = self._read_all(context) if raw is None else self._read(raw)
        return await self._answer(request, context)

    async def _checked(self, service: str, token: str | None) -> Claims | None:
        """Find out who calls and whether they may: identity ⊃ policy."""
        claims = None
        if token is not None and not self._policy.ignores_token:
            verifier = self._chain.verifier
            claims = verifier.verified(token) or await verifier.verify(token)
            set_caller(current := claims.caller(service, self._policy, verifier.clock()))
        self._check_access(service, claims)
        if claims is not None and not self._policy.steps_up_on_demand:
            current.require_recent_login()
        return claims

    def _check_access(self, service: str, claims: Claims | None) -> None:
        policy = self._policy
        if policy.access is Access.INTERNAL and service not in policy.services:
            raise CallerNotAllowed("the calling service may not call this method")
        if policy.access is Access.SCOPED:
            if claims is None:
                raise TokenMissing("an access token is required")
            if policy.scopes.isdisjoint(claims.scopes):
                scopes = " ".join(sorted(policy.scopes))
                raise ScopeMissing("the access token does not allow this", metadata={"scopes": scopes})
            if policy.own_session and claims.client_id is not None:
                raise ClientNotAllowed

    async def _message(self, context: Context) -> bytes:
        """Wait for the one message of a call.

        Raises:
            RequestMissing: the call ended without it.
            RequestLate: it did not come.
        """
        remaining = remaining_seconds()
        if remaining is not None and remaining <= MESSAGE_SECONDS:
            # The deadline comes first: a timer of ours would be for nothing.
            raw = await context.read()
        else:
            raw = await self._timely(context)
        if not isinstance(raw, bytes):
            raise RequestMissing("the call ended without a request message")
        return raw

    @staticmethod
    async def _timely(context: Context) -> object:
        try:
            async with asyncio.timeout(MESSAGE_SECONDS):
                return await context.read()
        except TimeoutError:
            raise RequestLate(f"no request message came within {MESSAGE_SECONDS:g} s") from None

    def _read(self, raw: bytes) -> Message:
        """Check size, then wire format, then the contract's rules: validation."""
        if len(raw) > (largest := self._policy.max_request_bytes):
            metadata = {"max_request_bytes": str(largest)}
            raise RequestTooLarge(f"the request is larger than {largest} bytes", metadata=metadata)
        try:
            request = self._parse(raw)
        except DecodeError:
            raise InvalidArgument("the request cannot be decoded") from None
        if violations := violations_in(request):
            first = violations[0]
            raise InvalidArgument(f"{first.field}: {first.description}", violations=violations)
        return request

    async def _read_all(self, context: Context) -> AsyncIterator[Message]:
        while isinstance(raw := await self._next(context), bytes):
            yield self._read(raw)

    async def _next(self, context: Context) -> object:
        """Wait for a stream's next message, or its end."""
        idle_seconds = self._idle_seconds
        try:
            async with asyncio.timeout(idle_seconds):
                return await context.read()
        except TimeoutError:
            raise StreamIdle(
                f"no message came for {idle_seconds:g} s; send what is not yet done in a new stream"
            ) from None

    async def _answer_one(self, request: Any, context: Context) -> bytes:
        response = await self._behavior(request, context)
        # Of the etag the edge makes a header.
        if told := told_with(response, etag=self._sends_etag and calling_service() == EDGE):
            context.set_trailing_metadata(told)
        return bytes_of(response) or self._serialize(response)

    async def _answer_many(self, request: Any, context: Context) -> None:
        self._chain.begin_stream()
        try:
            if inspect.iscoroutinefunction(self._behavior):
                # It writes by itself, as gRPC's own health service does.
                await self._behavior(request, context)
                return
            async with aclosing(self._behavior(request, context)) as responses:
                async for response in responses:
                    if not await self._write(response, context):
                        return
        finally:
            self._chain.end_stream()

    async def _write(self, response: Any, context: Context) -> bool:
        """Send a stream's next message, as soon as its reader takes it; False where the reader has gone."""
        idle_seconds = self._idle_seconds
        try:
            async with asyncio.timeout(idle_seconds):
                await context.write(response)
        except grpc.aio.InternalError:
            return False
        except TimeoutError:
            raise StreamIdle(f"no message was read for {idle_seconds:g} s; resume the stream") from None
        return True

    def _failure(self, error: BaseException) -> ServiceError | None:
        """Return what the caller is told; None when nobody listens any more."""
        error = first_of(error)
        if isinstance(error, asyncio.CancelledError) and (task := current_task()).cancelling():
            if not (self._chain.is_stopping and self._policy.server_streaming):
                return None
            task.uncancel()
            return ServiceUnavailable(_STOPPING)
        return failures.failure_of(error, self._policy.method)


async def abort(context: Context, error: ServiceError) -> NoReturn:
    """End a call with the error's status, its details and the trace id to find it by.

    One that has ended already is cancelled: gRPC would log a stack for it, and anyone can send such calls.
    """
    try:
        await context.abort(
            grpc.StatusCode[error.code], *as_sent(error, logs.trace_id(), call_metadata.get())
        )
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None


async def _refuse_unknown(_: AsyncIterable[bytes], context: Context) -> None:
    await abort(context, MethodUnknown("there is no such method"))


# A stream, because the first message of an unknown call may never come.
_UNKNOWN_METHOD: Handler = grpc.stream_stream_rpc_method_handler(_refuse_unknown)


def _enough(seconds: float) -> float:
    if seconds < MINIMUM_SECONDS:
        raise DeadlineExceeded("the deadline leaves no time for the work")
    return seconds
