"""The provider's client against the real sandbox: what is unknown is asked for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from services.order.orders.domain import Order, ReservedLine, decide_place, place
from services.order.orders.events import PaymentState
from services.order.payments.gate import PaymentProviderAway, PaymentProviderUnavailable
from services.order.payments.provider import (
    NoPayment,
    Outcome,
    Payment,
    PaymentProvider,
)
from tests.order.conftest import OK
from tests.order.sandbox import Sandbox
from tests.support.ports import free_port


def an_order(price: str = "12.50", currency: str = "USD") -> Order:
    line = ReservedLine(uuid4(), "SKU", "A lamp", 1, Decimal(price), currency)
    return place(decide_place(uuid4(), uuid4(), [line], None), datetime.now(UTC))


@pytest.fixture
async def provider(sandbox: Sandbox) -> AsyncIterator[PaymentProvider]:
    async with aiohttp.ClientSession() as session:
        yield PaymentProvider(session, sandbox.url, sandbox.api_key_file)


async def authorized(provider: PaymentProvider, order: Order, token: str = OK) -> str:
    outcome = await provider.authorize(order, token)
    assert isinstance(outcome, Payment)
    assert outcome.state is PaymentState.AUTHORIZED
    return outcome.payment_id


def state(outcome: Outcome) -> PaymentState | NoPayment:
    return outcome.state if isinstance(outcome, Payment) else outcome


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("tok_ok", PaymentState.AUTHORIZED),
        ("tok_error_once", PaymentState.AUTHORIZED),
        ("tok_drop_after_effect", PaymentState.AUTHORIZED),
        ("tok_declined", PaymentState.DECLINED),
        ("tok_error", NoPayment.YET),
    ],
)
async def test_what_became_of_an_authorization_is_always_known(
    provider: PaymentProvider, sandbox: Sandbox, token: str, expected: PaymentState | NoPayment
) -> None:
    order = an_order()
    assert state(await provider.authorize(order, token)) is expected
    effects = ["authorize"] if expected is PaymentState.AUTHORIZED else []
    assert await sandbox.kinds(str(order.order_id)) == effects


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("tok_declined", "card_declined"),
        ("tok_declined_insufficient_funds", "insufficient_funds"),
        ("4111111111111111", "invalid_token"),
    ],
)
async def test_a_decline_tells_the_providers_code(provider: PaymentProvider, token: str, code: str) -> None:
    outcome = await provider.authorize(an_order(), token)
    assert isinstance(outcome, Payment)
    assert outcome.decline_code == code


@pytest.mark.parametrize("repeated", ["authorize", "capture", "refund"])
async def test_an_act_that_is_repeated_happens_once(
    provider: PaymentProvider, sandbox: Sandbox, repeated: str
) -> None:
    order = an_order()
    payment_id = await authorized(provider, order)
    acts: dict[str, Callable[[], Awaitable[Outcome]]] = {
        "authorize": lambda: provider.authorize(order, "tok_ok"),
        "capture": lambda: provider.capture(order, payment_id),
        "refund": lambda: provider.refund(order, payment_id),
    }
    happened = []
    for act, call in acts.items():
        for _ in range(3 if act == repeated else 1):
            await call()
        happened.append(act)
        assert await sandbox.kinds(str(order.order_id)) == happened


@pytest.mark.parametrize("token", ["tok_capture_error_once", "tok_capture_drop_after_effect"])
async def test_a_capture_without_an_answer_is_asked_for(
    provider: PaymentProvider, sandbox: Sandbox, token: str
) -> None:
    order = an_order()
    payment_id = await authorized(provider, order, token)
    assert state(await provider.capture(order, payment_id)) is PaymentState.CAPTURED
    assert await sandbox.kinds(str(order.order_id)) == ["authorize", "capture"]


async def test_a_capture_that_never_works_leaves_the_payment_authorized(provider: PaymentProvider) -> None:
    order = an_order()
    payment_id = await authorized(provider, order, "tok_capture_error")
    assert state(await provider.capture(order, payment_id)) is PaymentState.AUTHORIZED


async def test_a_void_that_comes_after_the_capture_says_so(provider: PaymentProvider) -> None:
    order = an_order()
    payment_id = await authorized(provider, order)
    await provider.capture(order, payment_id)
    assert state(await provider.void(order, payment_id)) is PaymentState.CAPTURED


async def test_a_voided_payment_cannot_be_captured(provider: PaymentProvider, sandbox: Sandbox) -> None:
    order = an_order()
    payment_id = await authorized(provider, order, "tok_void_drop_after_effect")
    assert state(await provider.void(order, payment_id)) is PaymentState.VOIDED
    assert state(await provider.capture(order, payment_id)) is PaymentState.VOIDED
    assert await sandbox.kinds(str(order.order_id)) == ["authorize", "void"]


async def test_under_a_closed_key_nothing_is_ever_authorized(
    provider: PaymentProvider, sandbox: Sandbox
) -> None:
    order = an_order()
    assert await provider.close(order) is NoPayment.EVER
    assert await provider.authorize(order, "tok_ok") is NoPayment.EVER
    assert await sandbox.kinds(str(order.order_id)) == []


async def test_closing_the_key_of_a_payment_finds_it(provider: PaymentProvider) -> None:
    order = an_order()
    payment_id = await authorized(provider, order)
    outcome = await provider.close(order)
    assert outcome == Payment(payment_id, PaymentState.AUTHORIZED, None)
    assert outcome == await provider.find(order)


async def test_amounts_reach_the_provider_exactly(provider: PaymentProvider, sandbox: Sandbox) -> None:
    for price, currency in [("0.01", "USD"), ("1234567890123.45", "EUR"), ("7", "JPY"), ("0.001", "KWD")]:
        order = an_order(price, currency)
        await provider.capture(order, await authorized(provider, order))
        found = (await sandbox.effects())[str(order.order_id)]
        assert found == [("authorize", Decimal(price)), ("capture", Decimal(price))]


async def test_an_amount_past_what_the_provider_can_hold_is_declined(provider: PaymentProvider) -> None:
    outcome = await provider.authorize(an_order("9000000000000000"), "tok_ok")
    assert isinstance(outcome, Payment)
    assert outcome.decline_code == "amount_too_large"


async def test_a_provider_that_is_away_is_unavailable_not_empty(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as session:
        away = PaymentProvider(session, f"http://127.0.0.1:{free_port()}", sandbox.api_key_file)
        for call in (away.authorize(an_order(), "tok_ok"), away.find(an_order()), away.close(an_order())):
            with pytest.raises(PaymentProviderUnavailable):
                await call


async def test_a_wrong_api_key_is_unavailable_not_declined(sandbox: Sandbox, tmp_path: object) -> None:
    wrong = sandbox.api_key_file.with_name("wrong_key")
    wrong.write_text("wrong")
    async with aiohttp.ClientSession() as session:
        provider = PaymentProvider(session, sandbox.url, wrong)
        with pytest.raises(PaymentProviderUnavailable):
            await provider.authorize(an_order(), "tok_ok")


@asynccontextmanager
async def busy_provider(headers: dict[str, str]) -> AsyncIterator[tuple[str, list[str]]]:
    """A provider that has too many calls, and the paths of those that came."""
    paths: list[str] = []

    async def refuse(request: web.BaseRequest) -> web.Response:
        paths.append(request.path)
        return web.Response(status=429, headers=headers)

    runner = web.ServerRunner(web.Server(refuse))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", paths
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "20"}, 10, 20),
        ({"Retry-After": "9" * 400}, 20, 30),
        ({"Retry-After": "soon"}, 0, 1),
        ({}, 0, 1),
    ],
)
async def test_a_provider_that_asks_for_a_pause_gets_it_and_is_not_away(
    sandbox: Sandbox, headers: dict[str, str], least: float, most: float
) -> None:
    async with aiohttp.ClientSession() as session, busy_provider(headers) as (url, paths):
        provider = PaymentProvider(session, url, sandbox.api_key_file)
        with pytest.raises(PaymentProviderAway) as raised:
            await provider.authorize(an_order(), OK)
        assert least < (raised.value.retry_after_seconds or 0) <= most
        assert (provider.gate.free, provider.gate.is_away) == (0, False)
        assert len(paths) == 1


@pytest.mark.parametrize("amount", ["1e999999", "1e30"])
async def test_an_amount_that_no_ledger_takes_is_refused_and_harms_no_call_beside_it(
    provider: PaymentProvider, sandbox: Sandbox, amount: str
) -> None:
    headers = {"Authorization": f"Bearer {sandbox.api_key_file.read_text()}", "Idempotency-Key": str(uuid4())}
    payment_id = await authorized(provider, an_order())
    patience = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(sandbox.url, headers=headers, timeout=patience) as session:
        refused, beside = await asyncio.gather(
            session.post(f"/v1/payments/{payment_id}/capture", json={"amount": amount}),
            provider.authorize(an_order(), OK),
        )
    assert refused.status == 400
    assert state(beside) is PaymentState.AUTHORIZED
