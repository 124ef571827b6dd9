"""A victim and an attacker, each with accounts and an address of its own, before one mesh."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from commerce.product.v1 import inventory_pb2

from tests.attacks.edge import Edge
from tests.attacks.prey import HOST, Prey
from tests.attacks.victim import Victim
from tests.support.calls import Caller, Target, open_caller
from tests.support.stack import Stack
from tests.support.world import INVENTORY, new_customer, new_product, operator_token

VICTIM_ADDRESS = "127.0.0.2"
_ATTACKERS = tuple(f"127.0.0.{number}" for number in range(3, 250))
# More than the victim buys in all; an attacker whose orders for 5,000 stay held has all of it after eight.
_UNITS = 40_000
# The contract lets one address register and log in 20 times a minute.
_CROWD = 12


@dataclass(frozen=True)
class Scene:
    """Who meets before which mesh."""

    stack: Stack
    victim: Victim
    # Where the attacker calls from.
    attacker: str
    customers: tuple[str, str]
    merchant: str
    # Who else the attacker can call as.
    crowd: tuple[str, ...]
    _caller: Caller

    async def units_held(self) -> int:
        """Return how many units of what both are after are held by orders that are not paid yet."""
        request = inventory_pb2.GetStockRequest(product_id=self.victim.product_id)
        return int(
            (await self._caller.call_rest(INVENTORY + "GetStock", request, self.merchant)).response.held
        )

    def prey(self, seconds: float) -> Prey:
        """Give the attacker what it has, for an attack that begins now."""
        return Prey(
            ports=self.stack.place.ports,
            source=self.attacker,
            seconds=seconds,
            customers=self.customers,
            merchant=self.merchant,
            crowd=self.crowd,
            product_id=self.victim.product_id,
        )


@asynccontextmanager
async def set_scene(stack: Stack) -> AsyncIterator[Scene]:
    """Make the accounts, and a product that both are after."""
    target, attacker = Target.of(stack.place), _of_another_share(Edge(stack))
    async with (
        open_caller(target, source=VICTIM_ADDRESS) as victims,
        open_caller(target, source=attacker) as attackers,
    ):
        victim = await _victim(stack, victims)
        first, second, *crowd = [(await new_customer(attackers)).token for _ in range(2 + _CROWD)]
        merchant = (await operator_token(attackers, "merchant")).token
        try:
            yield Scene(stack, victim, attacker, (first, second), merchant, tuple(crowd), victims)
        finally:
            victim.close()


def _of_another_share(edge: Edge) -> str:
    """Choose an address whose connections are not counted with the victim's; chance deals them."""
    ours = edge.share_of(VICTIM_ADDRESS)
    return next(address for address in _ATTACKERS if edge.share_of(address) != ours)


async def _victim(stack: Stack, caller: Caller) -> Victim:
    admin = (await operator_token(caller, "admin")).token
    product = await new_product(caller, admin, units=_UNITS)
    return Victim(
        host=HOST,
        port=stack.place.ports["edge"],
        source=VICTIM_ADDRESS,
        token=(await new_customer(caller)).token,
        product_id=product.product_id,
    )
