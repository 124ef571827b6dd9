"""Killed at any moment, or cancelled at any moment, an order still ends, and once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from services.order.orders import store
from services.order.orders.recording import Change
from services.storage.postgres import Connection
from tests.order.conftest import Mesh, customer, describe, working
from tests.support.people import Person
from tests.support.waiting import until


class Killed(BaseException):
    """kill -9: nothing of the process's own code runs afterwards."""


@dataclass
class Other:
    """Another party, with something that happens around one of the calls to it."""

    party: Any
    call: str
    around: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.party, name)
        if name != self.call:
            return method
        return lambda *arguments, **options: self.around(lambda: method(*arguments, **options))


async def killed_before(_: Callable[[], Awaitable[Any]]) -> Any:
    raise Killed


async def killed_after(call: Callable[[], Awaitable[Any]]) -> Any:
    await asyncio.wait([asyncio.ensure_future(call())])
    raise Killed


class Lingering:
    """The first call waits in front of another party; later ones pass."""

    def __init__(self) -> None:
        self.entered, self.leave = asyncio.Event(), asyncio.Event()

    async def once(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if not self.entered.is_set():
            self.entered.set()
            await self.leave.wait()
        return await call()


@dataclass(frozen=True)
class Story:
    """How an order comes to its end, and the calls to others on the way."""

    calls: tuple[str, ...]
    end: tuple[str, str, str]
    token: str = "tok_ok"
    cancelled_when: str = ""
    sold_out: bool = False


STORIES = {
    "paid": Story(
        ("authorize", "BatchCommitReservations", "capture"), ("CONFIRMED", "CAPTURED", "UNSPECIFIED")
    ),
    "declined": Story(
        ("authorize", "BatchReleaseReservations"),
        ("CANCELLED", "DECLINED", "PAYMENT_DECLINED"),
        token="tok_declined",
    ),
    "sold out": Story(
        ("authorize", "BatchCommitReservations", "close", "void", "BatchReleaseReservations"),
        ("CANCELLED", "VOIDED", "OUT_OF_STOCK"),
        sold_out=True,
    ),
    "cancelled before anybody worked on it": Story(
        ("BatchReleaseReservations",), ("CANCELLED", "VOIDED", "REQUESTED"), cancelled_when="PENDING"
    ),
    "cancelled before it was paid": Story(
        ("close", "BatchReleaseReservations"), ("CANCELLED", "VOIDED", "REQUESTED"), cancelled_when="CLAIMED"
    ),
    "cancelled after it was paid": Story(
        ("close", "refund", "BatchReleaseReservations"),
        ("CANCELLED", "REFUNDED", "REQUESTED"),
        cancelled_when="CONFIRMED",
    ),
    "paid, answers lost": Story(
        ("authorize", "BatchCommitReservations", "capture"),
        ("CONFIRMED", "CAPTURED", "UNSPECIFIED"),
        token="tok_capture_drop_after_effect",
    ),
}
MOMENTS = {"before": killed_before, "after": killed_after}
KILLS = [
    (story, call, moment) for story, each in STORIES.items() for call in each.calls for moment in MOMENTS
]


def pipeline_with(mesh: Mesh, call: str, around: Callable[..., Awaitable[Any]]) -> Any:
    return mesh.new_pipeline(Other(mesh.inventory, call, around), Other(mesh.provider, call, around))


async def begin(mesh: Mesh, anna: Person, product: str, story: Story) -> str:
    order = await mesh.place(anna, product, 2, story.token)
    if story.sold_out:
        await mesh.sell_out(product, order.order_id)
    if story.cancelled_when == "CONFIRMED":
        async with working(mesh.pipeline):
            await mesh.settled(anna, order.order_id)
    if story.cancelled_when == "CLAIMED":
        await mesh.pool.execute("UPDATE order_tasks SET attempt_count = 1")
    if story.cancelled_when:
        await mesh.cancel(anna, order.order_id)
    return str(order.order_id)


async def assert_ended(mesh: Mesh, anna: Person, product: str, order_id: str, story: Story) -> None:
    assert describe(await mesh.settled(anna, order_id)) == story.end
    assert await mesh.count_tasks() == 0
    await mesh.rebuilt(order_id)
    confirmed = story.end[0] == "CONFIRMED"
    assert await mesh.levels(product) == (0 if story.sold_out else 8 if confirmed else 10, 0, 2 * confirmed)
    await assert_money(mesh, order_id, Decimal(25) if confirmed else Decimal(0))


async def assert_money(mesh: Mesh, order_id: str, expected: Decimal) -> None:
    """At most one of each effect; nothing set aside is left over; what was kept is what is expected."""
    amounts = dict.fromkeys(("authorize", "capture", "void", "refund"), Decimal(0))
    effects = (await mesh.sandbox.effects()).get(order_id, [])
    kinds = [kind for kind, _ in effects]
    assert len(kinds) == len(set(kinds)), kinds
    amounts.update(effects)
    assert amounts["capture"] - amounts["refund"] == expected
    assert ("authorize" in kinds) == ("capture" in kinds or "void" in kinds), kinds


@pytest.mark.parametrize(("story", "call", "moment"), KILLS)
async def test_an_order_ends_although_its_worker_is_killed(
    mesh: Mesh, story: str, call: str, moment: str
) -> None:
    anna, product = customer(), await mesh.new_product(units=10)
    order_id = await begin(mesh, anna, product, STORIES[story])
    with pytest.raises(BaseExceptionGroup) as death:
        await asyncio.wait_for(pipeline_with(mesh, call, MOMENTS[moment]).run(), 5)
    assert death.group_contains(Killed)
    await mesh.end_leases()
    async with working(mesh.pipeline):
        await assert_ended(mesh, anna, product, order_id, STORIES[story])


@pytest.mark.parametrize("story", STORIES)
async def test_an_order_ends_although_its_worker_is_killed_in_each_transaction(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, story: str
) -> None:
    anna, product = customer(), await mesh.new_product(units=10)
    order_id = await begin(mesh, anna, product, STORIES[story])
    append, kills = store.append_changes, Counter[int]()

    async def die_before_commit(conn: Connection, changes: Sequence[Change]) -> Any:
        async with conn.transaction():
            written = await append(conn, changes)
            [change] = changes
            kills[change.order.version] += 1
            if kills[change.order.version] <= 2:  # a group that fails is done once more, one by one
                raise Killed
        return written

    monkeypatch.setattr("services.order.orders.store.append_changes", die_before_commit)
    while await mesh.count_tasks():
        await mesh.end_leases()
        try:
            async with working(mesh.new_pipeline()) as worker:
                await until(lambda: is_over(mesh, worker))
        except BaseExceptionGroup as death:  # a pipeline that was not killed ends well
            assert death.subgroup(Killed)  # noqa: PT017  it need not be raised
    assert kills
    await assert_ended(mesh, anna, product, order_id, STORIES[story])


async def is_over(mesh: Mesh, worker: "asyncio.Task[None]") -> bool:
    return worker.done() or await mesh.count_tasks() == 0


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", STORIES["paid"].calls)
async def test_a_customer_who_cancels_while_it_is_paid_gets_everything_back(
    mesh: Mesh, call: str, moment: str
) -> None:
    anna, product = customer(), await mesh.new_product(units=10)
    order = await mesh.place(anna, product, 2)
    cancelled = False

    async def cancel_once(do: Callable[[], Awaitable[Any]]) -> Any:
        nonlocal cancelled
        if cancelled:
            return await do()
        cancelled = True
        if moment == "before":
            await mesh.cancel(anna, order.order_id)
            return await do()
        result = await do()
        await mesh.cancel(anna, order.order_id)
        return result

    story = Story((), ("CANCELLED", "", "REQUESTED"))
    async with working(pipeline_with(mesh, call, cancel_once)):
        final = await mesh.settled(anna, order.order_id)
    assert cancelled
    assert describe(final)[0::2] == story.end[0::2]
    assert describe(final)[1] in {"VOIDED", "REFUNDED"}
    await mesh.rebuilt(order.order_id)
    assert await mesh.levels(product) == (10, 0, 0)
    await assert_money(mesh, order.order_id, Decimal(0))


async def test_two_workers_on_one_order_do_everything_once(mesh: Mesh) -> None:
    """A lease that ends while its holder only seemed dead."""
    anna, product = customer(), await mesh.new_product(units=10)
    order = await mesh.place(anna, product, 2)
    lingering = Lingering()
    async with working(pipeline_with(mesh, "capture", lingering.once)):
        await lingering.entered.wait()
        await mesh.end_leases()
        await mesh.settled(anna, order.order_id)
        lingering.leave.set()
    await assert_ended(mesh, anna, product, order.order_id, STORIES["paid"])


async def test_a_slow_authorization_cannot_follow_a_cancellation(mesh: Mesh) -> None:
    """The customer cancels and everything ends while a worker is about to authorize."""
    anna, product = customer(), await mesh.new_product(units=10)
    order = await mesh.place(anna, product, 2)
    lingering = Lingering()
    async with working(pipeline_with(mesh, "authorize", lingering.once)):
        await lingering.entered.wait()
        await mesh.cancel(anna, order.order_id)
        await mesh.settled(anna, order.order_id)
        lingering.leave.set()
    await assert_ended(mesh, anna, product, order.order_id, STORIES["cancelled before it was paid"])
    assert await mesh.sandbox.kinds(order.order_id) == []
