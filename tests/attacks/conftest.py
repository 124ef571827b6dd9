"""The mesh that the attacks meet: with the contract's own limits, as anyone outside finds it."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.support.calls import Target, open_caller
from tests.support.stack import Stack, running_stack
from tests.support.world import World, Worlds, build_world

# Of those who prepare: what they register and log in counts against no attacker and no victim.
PREPARING_ADDRESS = "127.0.0.4"


@pytest.fixture(scope="session")
def guarded() -> Iterator[Stack]:
    """A whole running mesh of its own, seeded, whose rate limits are those of the contract."""
    # Else an attack by reads would meet the edge alone, and so would its victim.
    with running_stack("--no-keep-answers") as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def worlds(guarded: Stack) -> AsyncIterator[Worlds]:
    """People of every role, a product in stock and a confirmed order, in the mesh that is attacked."""
    async with open_caller(Target.of(guarded.place), source=PREPARING_ADDRESS) as caller:
        yield Worlds(await build_world(caller, guarded.place.secret("signing_key.pem")))


@pytest_asyncio.fixture(loop_scope="session")
async def world(worlds: Worlds) -> World:
    """The same, with everybody logged in lately."""
    return await worlds.now()
