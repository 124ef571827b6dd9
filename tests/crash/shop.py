"""A shop under load: buyers who order over REST, and the books they are judged by."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID, uuid4

from commerce.product.v1 import product_pb2
from google.rpc import code_pb2

from tests.crash.history import Call, End, History, end_of
from tests.support.calls import Caller, Target, open_caller
from tests.support.mesh import Mesh
from tests.support.people import Person
from tests.support.slowness import Control
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.wire import Connection, Disconnected, encode_request
from tests.support.world import new_customer, new_product, operator_token

# A caller gives up a little after the contract's deadline has passed everywhere.
CALL_PATIENCE_SECONDS = 8.0
# Between a call that was not answered and its repetition.
REPEAT_PAUSE_SECONDS = 0.2
# From when nothing is broken any more until each order has ended.
FINAL_SECONDS = 60.0
_POLL_SECONDS = 0.1
# Of the payment sandbox.
GOOD_TOKEN = "tok_ok"
DECLINED_TOKEN = "tok_declined"

# Something that a person does again and again.
Work: TypeAlias = Callable[[], Awaitable[Any]]


@dataclass
class Client:
    """One person at one connection, who writes down how each call ended.

    Not a Caller: on a connection of its own a call that nobody answered is told from one that was refused.
    """

    name: str
    address: tuple[str, int]
    token: str
    history: History
    _connection: Connection | None = None

    async def call(self, what: str, verb: str, path: str, body: Any = None, *, key: str = "") -> Call:
        """Send one request and record how it ended."""
        raw = b"" if body is None else json.dumps(body).encode()
        request = encode_request(verb, path, host=self.address[0], token=self.token, body=raw)
        started = time.monotonic()
        code, reason, answer = await self._exchange(request)
        call = Call(
            actor=self.name,
            what=what,
            key=key,
            end=end_of(code),
            code=code,
            reason=reason,
            sent=body,
            body=answer,
            started=started,
            ended=time.monotonic(),
        )
        self.history.calls.append(call)
        return call

    async def read(self, what: str, path: str) -> Call:
        """Read something, again until there is an answer."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while (call := await self.call(what, "GET", path)).end is End.UNKNOWN:
            assert time.monotonic() < give_up_at, f"never answered: {call}\n{self.history}"
            await asyncio.sleep(REPEAT_PAUSE_SECONDS)
        return call

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _exchange(self, request: bytes) -> tuple[str, str, Any]:
        try:
            async with asyncio.timeout(CALL_PATIENCE_SECONDS):
                if self._connection is None or not self._connection.is_open:
                    self._connection = await Connection.open(*self.address)
                answer = await self._connection.send(request)
        except (OSError, TimeoutError, Disconnected) as error:
            self.close()
            return "LOST", type(error).__name__, None
        body = json.loads(answer.body or b"null")
        return "OK" if answer.status < 400 else code_pb2.Code.Name(body["code"]), _reason(body), body


def _reason(body: Any) -> str:
    details = body.get("details", ()) if isinstance(body, dict) else ()
    return next((str(each["reason"]) for each in details if "reason" in each), "")


@dataclass
class Buyer(Client):
    """A customer who places orders."""

    user_id: str = ""

    async def place(
        self, product_id: str, units: int = 1, *, payment_token: str = GOOD_TOKEN, key: str = ""
    ) -> Call:
        """Place an order, once; a `key` from before repeats that request."""
        body = {
            "requestId": key or str(uuid4()),
            "lines": [{"productId": product_id, "quantity": units}],
            "paymentToken": payment_token,
        }
        return await self._place(body)

    async def place_surely(self, product_id: str, units: int = 1, *, key: str = "") -> Call:
        """Place an order, repeating the same request until its end is known."""
        call = await self.place(product_id, units, key=key)
        return await self.repeat(call) if call.end is End.UNKNOWN else call

    async def repeat(self, call: Call) -> Call:
        """Send the very same request again until its end is known."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while call.end is End.UNKNOWN:
            assert time.monotonic() < give_up_at, f"never answered: {call}\n{self.history}"
            await asyncio.sleep(REPEAT_PAUSE_SECONDS)
            call = await self._place(call.sent)
        return call

    async def _place(self, body: Any) -> Call:
        return await self.call("PlaceOrder", "POST", "/v1/orders", body, key=body["requestId"])

    async def cancel(self, order_id: str) -> Call:
        """Cancel an order."""
        return await self.call("CancelOrder", "POST", f"/v1/orders/{order_id}:cancel", {}, key=order_id)


@dataclass(frozen=True)
class OrderRow:
    """An order as the database has it."""

    order_id: str
    user_id: str
    state: str
    payment_state: str
    units: int
    total: Decimal


@dataclass(frozen=True)
class Level:
    """The stock of a product as the database has it."""

    free: int
    held: int
    committed: int

    @property
    def on_hand(self) -> int:
        """Everything in the house."""
        return self.free + self.held + self.committed


@dataclass
class Shop:
    """A mesh with an administrator and some buyers."""

    mesh: Mesh
    caller: Caller
    admin: Person
    buyers: Sequence[Buyer]
    history: History
    rng: random.Random = field(default_factory=random.Random)

    async def stock(self, units: int) -> product_pb2.Product:
        """Add a product with stock."""
        return await new_product(self.caller, self.admin.token, units=units)

    def client(self, name: str, token: str = "") -> Client:
        """Open a connection for somebody else."""
        return Client(name, self.buyers[0].address, token, self.history)

    async def resolve_unknown(self) -> None:
        """Repeat every order whose end its buyer does not know: the same key can only name the same order."""
        known = {call.key for call in self.history.of("PlaceOrder", End.OK, End.FAILED)}
        unknown = {
            call.key: call for call in self.history.of("PlaceOrder", End.UNKNOWN) if call.key not in known
        }

        async def resolve(buyer: Buyer) -> None:
            for call in [each for each in unknown.values() if each.actor == buyer.name]:
                await buyer.repeat(call)

        await asyncio.gather(*(resolve(buyer) for buyer in self.buyers))

    async def await_final(self) -> None:
        """Wait until every order of the buyers is final: within a minute of an idle machine."""
        control, started = Control.start(), time.monotonic()
        bound = None
        while pending := [row for row in await self.orders() if row.state not in {"CONFIRMED", "CANCELLED"}]:
            bound = bound or FINAL_SECONDS * await asyncio.to_thread(control.slowness)
            waited = time.monotonic() - started
            assert waited < bound, f"not final: {pending}\n{self.history}"
            await asyncio.sleep(_POLL_SECONDS)

    async def more_orders(self, count: int) -> None:
        """Wait until so many more orders have been placed: what runs, runs under load."""
        placed = _count(self.history)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while _count(self.history) < placed + count:  # noqa: ASYNC110  a history tells nobody
                await asyncio.sleep(_POLL_SECONDS)

    async def orders(self) -> list[OrderRow]:
        """Read the buyers' orders."""
        rows = await self.mesh.fetch(
            "order",
            """
            SELECT o.order_id::text, o.user_id::text, o.state, o.payment_state, o.total,
                   sum((line ->> 'quantity')::bigint)::bigint AS units
              FROM orders o
             CROSS JOIN LATERAL jsonb_array_elements(o.lines) AS line
             WHERE o.user_id = ANY ($1)
             GROUP BY o.order_id
            """,
            [UUID(buyer.user_id) for buyer in self.buyers],
        )
        return [OrderRow(**row) for row in rows]

    async def level(self, product_id: str) -> Level:
        """Read the stock of a product."""
        [row] = await self.mesh.fetch(
            "product",
            "SELECT free, held, committed FROM stock_levels WHERE product_id = $1",
            UUID(product_id),
        )
        return Level(**row)

    async def effects(self) -> list[dict[str, Any]]:
        """Ask the payment provider for what really happened."""
        host, _, port = self.mesh.place.address("payment").rpartition(":")
        key = self.mesh.place.secret("payment_api_key").read_text(encoding="utf-8").strip()
        client = Client("auditor", (host, int(port)), key, History(seed=0))
        answer = await client.read("ListEffects", "/v1/effects")
        client.close()
        effects: list[dict[str, Any]] = answer.body["effects"]
        return effects

    async def verify_stock(self) -> Call:
        """Ask the product service whether its books agree."""
        client = self.client("auditor", self.admin.token)
        call = await client.read("VerifyStock", "/v1/stock:verify")
        client.close()
        return call

    async def judge_all_sold_once(self, *product_ids: str) -> None:
        """See that every order is confirmed, was answered, and was sold and paid once."""
        history, orders = self.history, await self.orders()
        ids = {order.order_id for order in orders}
        assert {order.state for order in orders} == {"CONFIRMED"}, str(history)
        assert {call.body["orderId"] for call in history.of("PlaceOrder", End.OK)} == ids, str(history)
        levels = [await self.level(product_id) for product_id in product_ids]
        assert sum(level.committed for level in levels) == sum(order.units for order in orders), str(history)
        assert not any(level.held for level in levels), f"{levels}\n{history}"
        captures = Counter(
            effect["key"].partition(":")[0] for effect in await self.effects() if effect["kind"] == "capture"
        )
        assert {order_id: captures[order_id] for order_id in ids} == dict.fromkeys(ids, 1), str(history)


def _count(history: History) -> int:
    return sum(1 for _ in history.of("PlaceOrder", End.OK))


@asynccontextmanager
async def open_shop(mesh: Mesh, seed: int, buyers: int) -> AsyncIterator[Shop]:
    """Open a shop with new buyers in a running mesh."""
    place, history = mesh.place, History(seed)
    mesh.evidence.append(history)
    address = ("127.0.0.1", place.ports["edge"])
    async with open_caller(Target.of(place)) as caller:
        admin = await operator_token(caller, "admin")
        people = await asyncio.gather(*(new_customer(caller) for _ in range(buyers)))
        customers = [
            Buyer(f"buyer {number}", address, person.token, history, user_id=person.user_id)
            for number, person in enumerate(people)
        ]
        try:
            yield Shop(mesh, caller, admin, customers, history, random.Random(seed))
        finally:
            for customer in customers:
                customer.close()


@asynccontextmanager
async def working(work: Sequence[Work]) -> AsyncIterator[None]:
    """Do each piece of work again and again, all at once, during the block; what was begun is ended."""
    done = asyncio.Event()

    async def repeat(act: Work) -> None:
        while not done.is_set():
            await act()

    async with asyncio.TaskGroup() as group:
        for act in work:
            group.create_task(repeat(act))
        try:
            yield
        finally:
            done.set()
