"""A world in the session's running mesh, for every test of this folder."""

from collections.abc import AsyncIterator

import pytest_asyncio

from services.roster import FROM_OUTSIDE
from tests.conftest import Stack
from tests.contract.access_table import STRANGER
from tests.support.calls import Target, open_caller
from tests.support.world import World, Worlds, build_world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def worlds(stack: Stack) -> AsyncIterator[Worlds]:
    """People of every role, a product in stock and a confirmed order, made over the mesh's own API.

    Services from outside have their certificates: those that the contract names, and one that it does not.
    """
    for name in (*FROM_OUTSIDE, STRANGER):
        stack.mesh("certs", "issue", name)
    async with open_caller(Target.of(stack.place)) as caller:
        yield Worlds(await build_world(caller, stack.place.secret("signing_key.pem")))


@pytest_asyncio.fixture(loop_scope="session")
async def world(worlds: Worlds) -> World:
    """The same, with everybody logged in lately."""
    return await worlds.now()
