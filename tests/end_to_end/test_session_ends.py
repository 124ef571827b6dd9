"""What ends a session is felt in every service within seconds, by open streams too, and by nobody else."""

import asyncio
import time
from contextlib import AsyncExitStack

import grpc
import pytest
from commerce.user.v1 import auth_pb2

from tests.support.endings import CAUSES, FELT_WITHIN_SECONDS, Cause, seconds_until_refused, someone
from tests.support.stack import Stack
from tests.support.world import AUTH, World, log_in

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
async def test_an_ended_token_is_refused_everywhere_within_five_seconds(
    stack: Stack, world: World, cause: Cause
) -> None:
    caller, admin = world.caller, world.admin
    async with (
        grpc.aio.insecure_channel(stack.edge_target) as channel,
        AsyncExitStack() as at_end,
    ):
        who, other = [await at_end.enter_async_context(someone(caller, admin, channel)) for _ in range(2)]
        assert await who.is_untouched(caller)
        await cause(caller, admin, who)
        ended_at = time.monotonic()
        took, untouched = await asyncio.gather(
            seconds_until_refused(caller, who, ended_at), other.is_untouched(caller)
        )
        assert took < FELT_WITHIN_SECONDS
        assert untouched
        assert await other.is_untouched(caller)


async def test_a_session_is_listed_with_the_program_that_logged_in_at_the_edge(world: World) -> None:
    caller, password = world.caller, "correct horse battery staple"
    body = {"email": world.boris.email, "password": password}
    headers = {"User-Agent": "shop-app/7.1 (a telephone)"}
    assert (await caller.send("POST", "/v1/sessions", json_body=body, headers=headers)).http_status in {
        200,
        201,
    }
    await log_in(caller, world.boris.email)
    listed = await caller.call_grpc(
        AUTH + "ListSessions", auth_pb2.ListSessionsRequest(page_size=2), world.boris.token
    )
    newest, one_before = listed.response.sessions
    assert one_before.device == "shop-app/7.1 (a telephone)"
    assert newest.device.startswith("Python/")
