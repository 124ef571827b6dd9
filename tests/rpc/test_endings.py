"""Tokens that have ended before their time: refused, forgotten once they have expired, streams included."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.product.v1 import product_pb2, product_pb2_grpc
from structlog.testing import capture_logs

from services.errors import ServiceUnavailable, SessionEnded, TokenExpired
from services.rpc import endings as endings_module
from services.rpc import server as server_module
from services.rpc.endings import TOKEN_SECONDS, Endings
from services.rpc.identity import Claims, TokenVerifier
from services.rpc.server import running_server
from services.user.sessions.domain import ACCESS_LIFETIME
from tests.support.net import Net, scripted, stub_of, until
from tests.support.refusals import refusal
from tests.support.tokens import AUDIENCE, ISSUER, SESSION, SUBJECT, Tokens
from tests.support.waiting import PATIENCE_SECONDS

ENDED = ("UNAUTHENTICATED", "SESSION_ENDED")
SCOPE = "products.write"


@dataclass
class Clock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_what_has_ended_is_remembered_for_as_long_as_a_token_lives() -> None:
    assert ACCESS_LIFETIME.total_seconds() <= TOKEN_SECONDS
    clock = Clock()
    endings, session, person = Endings(clock), uuid4(), uuid4()
    endings.end_session(session)
    endings.end_tokens_before(person, 3)
    clock.seconds = TOKEN_SECONDS
    endings.end_session(uuid4())
    endings.end_tokens_before(uuid4(), 1)
    assert endings.has_ended(uuid4(), session, 1)
    assert endings.has_ended(person, uuid4(), 2)
    clock.seconds += 61
    endings.end_session(uuid4())
    endings.end_tokens_before(uuid4(), 1)
    assert not endings.has_ended(uuid4(), session, 1)
    assert not endings.has_ended(person, uuid4(), 2)


def test_a_token_ends_with_its_session_or_with_its_version_of_the_account() -> None:
    endings, session, person = Endings(), uuid4(), uuid4()
    endings.end_session(session)
    endings.end_tokens_before(person, 3)
    # Told again after a restart, and late.
    endings.end_tokens_before(person, 2)
    assert endings.has_ended(uuid4(), session, 99)
    assert [endings.has_ended(person, uuid4(), version) for version in (0, 2, 3, 4)] == [
        True,
        True,
        False,
        False,
    ]
    assert not endings.has_ended(uuid4(), uuid4(), 0)


def test_the_tables_are_bounded_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings_module, "_MOST", 3)
    endings, sessions = Endings(), [uuid4() for _ in range(5)]
    with capture_logs() as said:
        for session in sessions:
            endings.end_session(session)
    assert [endings.has_ended(uuid4(), each, 0) for each in sessions] == [False, False, True, True, True]
    assert [each["log_level"] for each in said] == ["error"], "told once a minute"


async def test_no_token_is_accepted_until_it_is_known_what_has_ended(tokens: Tokens) -> None:
    verifier = TokenVerifier(ISSUER, AUDIENCE, tokens.keys)
    waiting = asyncio.create_task(accepted(verifier, tokens.make(SCOPE)))
    await asyncio.sleep(0)
    verifier.endings.end_session(SESSION)
    assert not waiting.done()
    verifier.endings.know()
    with pytest.raises(SessionEnded):
        await waiting


async def accepted(verifier: TokenVerifier, token: str) -> Claims:
    """Judge a token as the interceptor does."""
    return verifier.verified(token) or await verifier.verify(token)


async def test_whom_nobody_tells_what_has_ended_accepts_no_token(tokens: Tokens) -> None:
    """A process that was wired without a feed must not be the one that accepts everything."""
    endings = TokenVerifier(ISSUER, AUDIENCE, tokens.keys).endings
    assert not endings.are_known
    endings.give_up_waiting()
    with pytest.raises(ServiceUnavailable):
        await endings.known()


async def test_who_waits_is_refused_once_it_cannot_be_learnt(tokens: Tokens) -> None:
    verifier, token = TokenVerifier(ISSUER, AUDIENCE, tokens.keys), tokens.make(SCOPE)
    waiting = asyncio.create_task(accepted(verifier, token))
    await asyncio.sleep(0)
    verifier.endings.give_up_waiting()
    with pytest.raises(ServiceUnavailable):
        await waiting
    for _ in range(2):
        with pytest.raises(ServiceUnavailable):
            await accepted(verifier, token)
    verifier.endings.know()
    assert await accepted(verifier, token) == verifier.verified(token)


async def test_a_token_that_expires_while_it_waits_is_refused(tokens: Tokens) -> None:
    clock = Clock(time.time())
    verifier = TokenVerifier(ISSUER, AUDIENCE, tokens.keys, clock)
    waiting = asyncio.create_task(accepted(verifier, tokens.make(SCOPE)))
    await asyncio.sleep(0)
    clock.seconds += TOKEN_SECONDS + 60
    verifier.endings.know()
    with pytest.raises(TokenExpired):
        await waiting


async def test_a_server_starts_when_it_is_known_what_has_ended(net: Net, tokens: Tokens) -> None:
    """In a rolling restart the process before it serves till then."""
    verifier = TokenVerifier(ISSUER, AUDIENCE, tokens.keys)
    server = running_server(net.settings("product"), register=scripted(), verifier=verifier)
    starting = asyncio.create_task(server.__aenter__())
    # One that cannot be learnt now may be learnt later.
    verifier.endings.give_up_waiting()
    done, _ = await asyncio.wait({starting}, timeout=0.3)
    assert not done
    verifier.endings.know()
    running = await asyncio.wait_for(starting, PATIENCE_SECONDS)
    assert running.port
    await server.__aexit__(None, None, None)


async def test_a_server_starts_after_all_where_it_cannot_be_learnt(
    net: Net, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the user service is away, callers without a token are served."""
    monkeypatch.setattr(server_module, "_ENDINGS_SECONDS", 0.1)
    verifier = TokenVerifier(ISSUER, AUDIENCE, tokens.keys)
    with capture_logs() as said:
        async with running_server(net.settings("product"), register=scripted(), verifier=verifier) as running:
            assert running.port
    assert [each["log_level"] for each in said] == ["warning"]


async def test_a_token_that_was_verified_before_ends_too(tokens: Tokens) -> None:
    verifier, token = tokens.verifier(), tokens.make(SCOPE, ver=2)
    await verifier.verify(token)
    assert verifier.verified(token) is not None
    verifier.endings.end_tokens_before(SUBJECT, 3)
    assert verifier.verified(token) is None
    with pytest.raises(SessionEnded):
        await verifier.verify(token)
    await verifier.verify(tokens.make(SCOPE, ver=3))


@dataclass
class Streaming:
    """A product service whose streams say when they have begun, and how they end."""

    verifier: TokenVerifier
    ended: list[type[BaseException]] = field(default_factory=list)
    begun: int = 0

    async def get(self, request: product_pb2.GetProductRequest, _: Any) -> product_pb2.Product:
        return product_pb2.Product(product_id=request.product_id)

    async def take(self, requests: AsyncIterator[Any], _: Any) -> product_pb2.ImportProductsResponse:
        self.begun += 1
        try:
            async for _ in requests:
                pass
        except BaseException as error:
            self.ended.append(type(error))
            raise
        return product_pb2.ImportProductsResponse()

    async def follow(self, _: Any, __: Any) -> AsyncIterator[event_pb2.FollowResponse]:
        self.begun += 1
        yield event_pb2.FollowResponse(position=1)
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            self.ended.append(type(error))
            raise


@pytest.fixture
def streaming(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> Streaming:
    verifier = tokens.verifier()
    monkeypatch.setattr(Tokens, "verifier", lambda _: verifier)
    return Streaming(verifier)


@pytest.fixture
async def channel(net: Net, streaming: Streaming) -> grpc.aio.Channel:
    server = await net.start(
        "product", ImportProducts=streaming.take, Follow=streaming.follow, GetProduct=streaming.get
    )
    opened: grpc.aio.Channel = await net.bare_channel("order", server.port)
    return opened


async def open_import(channel: grpc.aio.Channel, streaming: Streaming, metadata: Any) -> Any:
    before = streaming.begun
    call = stub_of(product_pb2_grpc.ProductServiceStub, channel).ImportProducts(metadata=metadata)
    await until(lambda: streaming.begun == before + 1)
    return call


async def test_open_streams_end_with_their_token_and_no_others(
    channel: grpc.aio.Channel, streaming: Streaming, tokens: Tokens
) -> None:
    session, person = uuid4(), uuid4()
    of_session = await open_import(channel, streaming, tokens.bearer(SCOPE, sid=str(session), jti="1"))
    of_person = await open_import(channel, streaming, tokens.bearer(SCOPE, sub=str(person), ver=1, jti="2"))
    newer = await open_import(channel, streaming, tokens.bearer(SCOPE, sub=str(person), ver=2, jti="3"))
    stranger = await open_import(channel, streaming, tokens.bearer(SCOPE, jti="4"))
    streaming.verifier.endings.end_session(session)
    streaming.verifier.endings.end_tokens_before(person, 2)
    assert await refusal(of_session) == await refusal(of_person) == ENDED
    assert streaming.ended == [asyncio.CancelledError] * 2
    for call in (newer, stranger):
        await call.done_writing()
        await call


async def test_a_stream_of_answers_ends_with_the_token_it_was_opened_with(
    channel: grpc.aio.Channel, streaming: Streaming, tokens: Tokens
) -> None:
    stub = stub_of(event_pb2_grpc.EventFeedStub, channel)
    call = stub.Follow(event_pb2.FollowRequest(), metadata=tokens.bearer(SCOPE))
    assert (await call.read()).position == 1
    streaming.verifier.endings.end_session(SESSION)
    assert await refusal(call.read()) == ENDED


async def test_no_stream_begins_with_an_ended_token(
    channel: grpc.aio.Channel, streaming: Streaming, tokens: Tokens
) -> None:
    streaming.verifier.endings.end_session(SESSION)
    call = stub_of(product_pb2_grpc.ProductServiceStub, channel).ImportProducts(metadata=tokens.bearer(SCOPE))
    assert await refusal(call) == ENDED
    assert streaming.begun == 0


async def test_a_stream_whose_caller_goes_as_its_token_ends_is_cancelled_once(
    channel: grpc.aio.Channel, streaming: Streaming, tokens: Tokens
) -> None:
    call = await open_import(channel, streaming, tokens.bearer(SCOPE))
    call.cancel()
    streaming.verifier.endings.end_session(SESSION)
    await until(lambda: streaming.ended == [asyncio.CancelledError])
    # The process serves on, and holds no stream.
    other = await open_import(channel, streaming, tokens.bearer(SCOPE, sid=str(uuid4()), jti="2"))
    await other.done_writing()
    await other
    assert not streaming.verifier.endings._streams


@pytest.mark.parametrize("caller_goes", [False, True])
async def test_whoever_cancels_a_stream_beside_its_token_is_heard(caller_goes: bool) -> None:
    endings, begun = Endings(), asyncio.Event()

    async def stream() -> None:
        with endings.watch(SUBJECT, SESSION, 1):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stream())
    await begun.wait()
    endings.end_session(SESSION)
    if caller_goes:
        task.cancel()
    with pytest.raises(asyncio.CancelledError if caller_goes else SessionEnded):
        await task


async def test_a_public_method_refuses_an_ended_token_too(
    channel: grpc.aio.Channel, streaming: Streaming, tokens: Tokens
) -> None:
    stub = stub_of(product_pb2_grpc.ProductServiceStub, channel)
    request, metadata = product_pb2.GetProductRequest(product_id=str(UUID(int=1))), tokens.bearer(SCOPE)
    await stub.GetProduct(request, metadata=metadata)
    streaming.verifier.endings.end_session(SESSION)
    assert await refusal(stub.GetProduct(request, metadata=metadata)) == ENDED
    await stub.GetProduct(request)


async def test_a_server_that_has_not_heard_what_ended_accepts_no_token_however_often_it_is_shown(
    channel: grpc.aio.Channel, streaming: Streaming, tokens: Tokens
) -> None:
    stub = stub_of(product_pb2_grpc.ProductServiceStub, channel)
    request, metadata = product_pb2.GetProductRequest(product_id=str(UUID(int=1))), tokens.bearer(SCOPE)
    endings = streaming.verifier.endings
    # As of a process that has just started.
    endings.are_known = False
    endings.give_up_waiting()
    for _ in range(3):
        refused = await refusal(stub.GetProduct(request, metadata=metadata))
        assert refused == ("UNAVAILABLE", "SERVICE_UNAVAILABLE")
        assert (await refusal(stub.ImportProducts(metadata=metadata)))[0] == "UNAVAILABLE"
    await stub.GetProduct(request)
    endings.end_session(SESSION)
    endings.know()
    assert await refusal(stub.GetProduct(request, metadata=metadata)) == ENDED


async def test_what_has_ended_costs_a_verified_call_next_to_nothing(tokens: Tokens) -> None:
    verifier, token = tokens.verifier(), tokens.make(SCOPE)
    await verifier.verify(token)
    for _ in range(10_000):
        verifier.endings.end_session(uuid4())
    # Of the processor: another process at the same moment is nobody's fault here.
    started = time.thread_time()
    for _ in range(1_000):
        assert verifier.verified(token) is not None
    # A product read takes 300 times as long.
    assert time.thread_time() - started < 0.05
