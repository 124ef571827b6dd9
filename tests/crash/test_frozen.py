"""A user service that is frozen: the others go on without it, and hear of what ends once it lives again."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from commerce.user.v1 import user_pb2

from tests.crash.test_session_ends import two_people
from tests.support.endings import FELT_WITHIN_SECONDS, log_out, seconds_until_refused
from tests.support.mesh import Mesh
from tests.support.world import USERS

# Longer than the silence after which its feed is left for a new connection, and the deadline of GetUser.
FROZEN_SECONDS = 6.0


@contextmanager
def frozen(mesh: Mesh, service: str) -> Iterator[None]:
    """Stop the processes of a service, which keep their connections, for the life of a block."""
    processes = [part.identity for part in mesh.parts(service) if part.identity is not None]
    assert processes
    for each in processes:
        each.send(signal.SIGSTOP)
    try:
        yield
    finally:
        for each in processes:
            each.send(signal.SIGCONT)


async def test_the_others_go_on_while_the_user_service_is_frozen_and_hear_what_ends_after(
    mesh: Mesh,
) -> None:
    async with two_people(mesh) as (caller, admin, who, other):
        own = user_pb2.GetUserRequest(user_id="me")
        with frozen(mesh, "user"):
            thaw_at = time.monotonic() + FROZEN_SECONDS
            asked = asyncio.create_task(caller.call_rest(USERS + "GetUser", own, who.person.token))
            while time.monotonic() < thaw_at:
                assert await who.is_untouched(caller)
                await asyncio.sleep(0.2)
            assert asked.done(), "a call to it ends at its deadline"
            assert (await asked).code in {"DEADLINE_EXCEEDED", "UNAVAILABLE"}
        await log_out(caller, admin, who)
        assert await seconds_until_refused(caller, who, time.monotonic()) < FELT_WITHIN_SECONDS
        assert await other.is_untouched(caller)
