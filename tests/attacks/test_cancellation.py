"""Whatever a caller gives up, at whichever await: the books balance, and nothing is left open or held."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
from google.protobuf.descriptor_pb2 import MethodOptions

from services.order.orders.servicer import OrderServicer, _placing
from services.order.pipeline.workers import LEASE
from services.rpc.identity import set_caller
from services.rpc.policy import policies
from tests.attacks.cancelling import Moment, cut_off
from tests.attacks.mutations import CASES
from tests.attacks.parts import Attempt, Parts, open_parts
from tests.conftest import DatabaseHandle
from tests.order.conftest import Mesh, mesh, order_database, sandbox, stock_database, working
from tests.support.calls import descriptor
from tests.support.waiting import PATIENCE_SECONDS
from tests.user.conftest import signer, users_database, valkey

# Fixtures of the rooms whose services meet here.
__all__ = ["mesh", "order_database", "sandbox", "signer", "stock_database", "users_database", "valkey"]

_PLACE_ORDER = "/commerce.order.v1.OrderService/PlaceOrder"
# No handler waits more often; one that does, waits for something it should not.
MOST_SUSPENSIONS = 100


@pytest.fixture
async def parts(
    mesh: Mesh,
    users_database: DatabaseHandle,
    signer: Any,
    valkey: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Parts]:
    # Its awaits are looked at, not its strength.
    monkeypatch.setattr("services.user.accounts.passwords._MEMORY_KIBIBYTES", 64)
    async with AsyncExitStack() as at_end:
        yield await open_parts(mesh, users_database, signer, valkey, at_end)


def mutating_methods() -> set[str]:
    """Every method of the contract that may change something."""
    return {
        method
        for method in policies()
        if descriptor(method).GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS
    }


def has_request_id(method: str) -> bool:
    return "request_id" in descriptor(method).input_type.fields_by_name


def test_every_method_that_changes_something_has_a_case() -> None:
    assert mutating_methods() == set(CASES)


@pytest.mark.parametrize("method", sorted(CASES))
async def test_a_cancellation_at_any_await_leaves_nothing_behind(parts: Parts, method: str) -> None:
    for moment in Moment:
        at = 1
        while await _survives(parts, method, at, moment):
            at += 1
            assert at < MOST_SUSPENSIONS
        assert at > 1, "it never waited"
    await _check_pools(parts)
    await _check_that_orders_end(parts)


async def test_a_placing_that_its_limit_ends_at_any_await_leaves_no_order_without_a_worker(
    parts: Parts,
) -> None:
    """Its caller may give up at any time; what it does in their place has a limit of its own."""
    async with working(parts.mesh.pipeline):
        for moment in Moment:
            at = 1
            while await _is_placed_and_cut_off(parts, at, moment):
                at += 1
            assert at > 1, "it never waited"


async def _is_placed_and_cut_off(parts: Parts, at: int, moment: Moment) -> bool:
    """Cut off what has to be finished, and see that its order ends long before a lease does."""
    attempt = await CASES[_PLACE_ORDER](parts)
    orders: OrderServicer = parts.servicers["commerce.order.v1.OrderService"]

    async def place() -> None:
        set_caller(attempt.caller)
        await orders._answer(_placing(cast("Any", attempt.request), attempt.caller.require_subject()))

    was_reached = await cut_off(place(), at, moment)
    await _until_quiet(parts)
    async with asyncio.timeout(LEASE.total_seconds() / 2):
        while await parts.mesh.count_tasks():  # noqa: ASYNC110  the database cannot tell
            await asyncio.sleep(0.001)
    return was_reached


@pytest.mark.parametrize("method", sorted(method for method in CASES if has_request_id(method)))
async def test_a_request_id_in_capitals_is_the_same_request(parts: Parts, method: str) -> None:
    attempt = await CASES[method](parts)
    first = await parts.outcome(method, attempt)
    request: Any = attempt.request
    request.request_id = request.request_id.upper()
    assert await parts.outcome(method, attempt) == first
    assert first[0] == ""


async def _survives(parts: Parts, method: str, at: int, moment: Moment) -> bool:
    """Cut a new call off and judge what is left; return whether it had so many awaits."""
    attempt = await CASES[method](parts)
    was_reached = await cut_off(parts.call(method, attempt), at, moment)
    await _until_quiet(parts)
    where = f"{method} cut off at await {at}, {moment.name}"
    assert await parts.faults() == [], where
    await _check_repetition(parts, method, attempt, where)
    assert await parts.faults() == [], f"{where}, repeated"
    return was_reached


async def _check_repetition(parts: Parts, method: str, attempt: Attempt, where: str) -> None:
    """The same request again has an answer, and again the same one."""
    answers = [await parts.outcome(method, attempt) for _ in range(2)]
    refused = {reason for reason, _ in answers} - {"", *attempt.reasons_of_a_repetition}
    assert not refused, f"{where}: {refused}"
    if attempt.answers_alike:
        assert len({answer for reason, answer in answers if not reason}) <= 1, where


async def _until_quiet(parts: Parts) -> None:
    """What was begun has ended: connections are back, and none has a transaction open."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        await parts.finishing.drain()
        while not parts.is_idle() or await parts.open_transactions():  # noqa: ASYNC110  PostgreSQL cannot tell
            await asyncio.sleep(0.001)


async def _check_pools(parts: Parts) -> None:
    """Every connection there may be can be had at once."""
    for pool in parts.pools:
        async with asyncio.timeout(PATIENCE_SECONDS), AsyncExitStack() as at_end:
            for _ in range(pool.get_max_size()):
                await at_end.enter_async_context(pool.acquire())


async def _check_that_orders_end(parts: Parts) -> None:
    """The pipeline finishes every order that there is by now."""
    async with working(parts.mesh.pipeline), asyncio.timeout(PATIENCE_SECONDS):
        while await parts.mesh.count_tasks():  # noqa: ASYNC110  the database cannot tell
            await asyncio.sleep(0.01)
    assert await parts.faults() == []
