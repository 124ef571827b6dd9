"""A victim's view: while somebody attacks, another caller's reads and orders succeed, about as fast."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

import pytest
import pytest_asyncio
from commerce.user.v1 import auth_pb2

from tests.attacks.attacker import ATTACKS, Attacker, running_attacker
from tests.attacks.scene import VICTIM_ADDRESS, Scene, set_scene
from tests.attacks.victim import Visit
from tests.attacks.vitals import (
    MEGABYTE,
    LogMark,
    MemoryWatch,
    Processes,
    growth,
    private_bytes,
    watched_memory,
)
from tests.support.calls import Target, open_caller
from tests.support.stack import Stack
from tests.support.world import AUTH

pytestmark = [pytest.mark.stack, pytest.mark.alone, pytest.mark.asyncio(loop_scope="session")]

# At the victim's rate 200 reads: two may be worse than the 99th part of a hundred.
QUIET_SECONDS = 5.0
ATTACK_SECONDS = 5.0
LONG_ATTACK_SECONDS = 10.0

SLOWER_AT_MOST = 5
# Below it, five times a quiet time of 10 ms would judge the machine: on two cores a call in a hundred waits
# so long for the processor. An attack that works costs others seconds.
FLOOR_SECONDS = 0.1
# An attack that works makes others slow each time; what else a machine does, does not.
_TURNS = 3

# Buffers of the connections that one address may have, and what an allocator keeps of them.
MOST_GROWTH_BYTES = 96 * MEGABYTE
MOST_LEFT_BYTES = 48 * MEGABYTE
RETURN_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Quiet:
    """What the victim sees when nobody attacks."""

    scene: Scene
    visit: Visit


@pytest.fixture(scope="session")
def attacker() -> Iterator[Attacker]:
    with running_attacker() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def quiet(guarded: Stack) -> AsyncIterator[Quiet]:
    """Let the victim shop in peace."""
    async with set_scene(guarded) as scene:
        await scene.victim.shop(1.0)  # connections, caches, the first plans of PostgreSQL
        yield Quiet(scene, await scene.victim.shop(QUIET_SECONDS))


async def test_the_victim_shops_in_peace(quiet: Quiet) -> None:
    assert not quiet.visit.failures


async def test_the_attacker_and_the_victim_are_two_addresses_to_the_edge(quiet: Quiet) -> None:
    """Else the attacker's calls would count against the victim, and its refusals would prove nothing."""
    target = Target.of(quiet.scene.stack.place)
    logins = (
        auth_pb2.CreateSessionRequest(email=f"{uuid4().hex}@example.com", password="not the password")
        for _ in itertools.count()
    )
    async with open_caller(target, source=quiet.scene.attacker) as attackers:
        # One more than the contract lets an address log in within a minute.
        tried = [await attackers.call_rest(AUTH + "CreateSession", next(logins)) for _ in range(21)]
    assert tried[-1].reason == "RATE_LIMITED"
    async with open_caller(target, source=VICTIM_ADDRESS) as victims:
        refused = await victims.call_rest(AUTH + "CreateSession", next(logins))
    assert refused.code == "UNAUTHENTICATED"


@pytest.mark.parametrize("name", ATTACKS)
async def test_another_caller_is_served_as_before(quiet: Quiet, attacker: Attacker, name: str) -> None:
    await hold_out(quiet, attacker, name, ATTACK_SECONDS)


@pytest.mark.long
@pytest.mark.parametrize("name", ATTACKS)
async def test_another_caller_is_served_as_before_for_long(
    quiet: Quiet, attacker: Attacker, name: str
) -> None:
    await hold_out(quiet, attacker, name, LONG_ATTACK_SECONDS)


async def hold_out(quiet: Quiet, attacker: Attacker, name: str, seconds: float) -> None:
    """Attack while the victim shops, and see that nothing came of it."""
    stack = quiet.scene.stack
    processes, logs = Processes.of(stack), LogMark.of(stack)
    held, in_peace = await quiet.scene.units_held(), quiet.visit
    for turns_left in reversed(range(_TURNS)):
        with watched_memory(stack) as memory:
            visit, did = await together(quiet.scene, attacker, name, seconds)
        await recovered(quiet.scene)
        assert did > 0, "there was no attack"
        assert not visit.failures, f"{len(visit.failures)} calls failed, such as {visit.failures[0]}"
        await assert_parts_are_well(stack, processes, logs, memory)
        await holds_have_ended(quiet.scene, held)
        told = what_is_slow(visit, in_peace)
        if not told:
            return
        assert turns_left, told
        # It may have been the machine: then it is slow in peace too, or is over by the next turn.
        in_peace = await quiet.scene.victim.shop(QUIET_SECONDS)


async def assert_parts_are_well(
    stack: Stack, processes: Processes, logs: LogMark, memory: MemoryWatch
) -> None:
    assert Processes.of(stack) == processes, "a part was restarted"
    assert not logs.surprises()
    grown = {part: held for part, held in memory.growth_at_peak().items() if held > MOST_GROWTH_BYTES}
    assert not grown, "these parts took too much memory"
    assert not await asyncio.to_thread(_left_over, stack, memory.before), "memory did not come back"


async def together(scene: Scene, attacker: Attacker, name: str, seconds: float) -> tuple[Visit, int]:
    """Let the victim shop while the attacker attacks; return what both did."""
    return await asyncio.gather(
        scene.victim.shop(seconds), asyncio.to_thread(attacker.attack, name, scene.prey(seconds))
    )


async def recovered(scene: Scene) -> None:
    """Wait until the victim is served again: the next attack shall not be blamed for this one."""
    give_up_at = time.monotonic() + RETURN_PATIENCE_SECONDS
    while (await scene.victim.shop(0.1)).failures:
        assert time.monotonic() < give_up_at, "the victim is not served any more"


async def holds_have_ended(scene: Scene, before: int) -> None:
    """Wait until no more is held than before: orders end, and a hold without an order lives seconds."""
    give_up_at = time.monotonic() + RETURN_PATIENCE_SECONDS
    while (held := await scene.units_held()) > before:
        assert time.monotonic() < give_up_at, f"{held - before} units stay held for nothing"
        await asyncio.sleep(0.1)


def what_is_slow(attacked: Visit, in_peace: Visit) -> str:
    """Say what took the victim too long; nothing, where nothing did."""
    pairs = {
        "reads": (attacked.reads, in_peace.reads),
        "orders": (attacked.orders, in_peace.orders),
    }
    return "; ".join(
        f"{what}: {under_attack}; in peace: {quiet}"
        for what, (under_attack, quiet) in pairs.items()
        if under_attack.percentile_seconds(0.99)
        > max(FLOOR_SECONDS, SLOWER_AT_MOST * quiet.percentile_seconds(0.99))
    )


def _left_over(stack: Stack, before: Mapping[str, int]) -> dict[str, int]:
    """Return the parts that keep more than they had, once they have had time to give it back."""
    give_up_at = time.monotonic() + RETURN_PATIENCE_SECONDS
    while True:
        left = growth(before, private_bytes(stack))
        left = {part: held for part, held in left.items() if held > MOST_LEFT_BYTES}
        if not left or time.monotonic() > give_up_at:
            return left
        time.sleep(0.1)
