"""What a call was refused with, as its caller sees it."""

from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from services.errors import ServiceError
from services.rpc.status import from_rpc_error


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
