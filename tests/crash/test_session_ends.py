"""A log-out holds through kills: of the user service that wrote it, and of the services that heard of it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest

from tests.support.calls import Caller, Target, open_caller
from tests.support.endings import (
    CAUSES,
    ENDED,
    FELT_WITHIN_SECONDS,
    Cause,
    Someone,
    seconds_until_refused,
    someone,
)
from tests.support.mesh import Mesh
from tests.support.world import operator_token


@asynccontextmanager
async def two_people(mesh: Mesh) -> AsyncIterator[tuple[Caller, str, Someone, Someone]]:
    """A caller, an administrator's token, and two people."""
    async with (
        open_caller(Target.of(mesh.place)) as caller,
        grpc.aio.insecure_channel(mesh.edge_target) as channel,
    ):
        admin = (await operator_token(caller, "admin")).token
        async with someone(caller, admin, channel) as who, someone(caller, admin, channel) as other:
            yield caller, admin, who, other


async def kill(mesh: Mesh, service: str) -> None:
    """Kill -9 a service's process and wait for its successor."""
    await mesh.await_replaced(mesh.kill(mesh.parts(service)[0].name))


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
async def test_an_end_holds_though_its_writer_and_then_its_hearers_are_killed(
    mesh: Mesh, cause: Cause
) -> None:
    async with two_people(mesh) as (caller, admin, who, other):
        await cause(caller, admin, who)
        # Before anybody may have heard of it.
        await kill(mesh, "user")
        took = await seconds_until_refused(caller, who, time.monotonic())
        assert took < FELT_WITHIN_SECONDS
        assert await other.is_untouched(caller)
        for service in ("product", "order"):
            await kill(mesh, service)
        await mesh.await_healthy()
        # Not one call is let in by a process that has just started.
        assert set(await who.verdicts(caller)) == {ENDED}
        assert set(await replace(other, stream=None).verdicts(caller)) == {("OK", "")}
