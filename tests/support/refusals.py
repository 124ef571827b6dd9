"""What a call was refused with, as its caller sees it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from services.errors import ServiceError
from services.rpc.status import from_rpc_error
from tests.support.waiting import PATIENCE_SECONDS

SESSION_ENDED = ("UNAUTHENTICATED", "SESSION_ENDED")


async def error_of(failed: Awaitable[Any] | BaseException) -> ServiceError:
    """The error of a call without our client's part, or of what it raised."""
    if not isinstance(failed, BaseException):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await failed
        failed = caught.value
    assert isinstance(failed, grpc.aio.AioRpcError)
    return from_rpc_error(failed)


async def refusal(failed: Awaitable[Any] | BaseException) -> tuple[str, str]:
    """The code and the reason of a refused call."""
    error = await error_of(failed)
    return str(error.code), error.reason


async def ends(call: Callable[[], Awaitable[Any]]) -> None:
    """Wait until a call is refused because its token has ended: processes hear of that from the feed."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await call()
            except grpc.aio.AioRpcError as error:
                if await refusal(error) == SESSION_ENDED:
                    return
            await asyncio.sleep(0.005)
