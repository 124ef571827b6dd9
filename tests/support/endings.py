"""Somebody in a running mesh whose tokens are about to end, and what becomes of their calls."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import grpc
from commerce.order.v1 import order_pb2
from commerce.product.v1 import product_pb2, product_pb2_grpc
from commerce.user.v1 import auth_pb2, user_pb2

from services.rpc.status import from_rpc_error
from tests.support.calls import Caller
from tests.support.people import Person
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.world import AUTH, ORDERS, PASSWORD, PRODUCTS, USERS, log_in, new_customer

ENDED = ("UNAUTHENTICATED", "SESSION_ENDED")
FELT_WITHIN_SECONDS = 5.0
_NEW_PASSWORD = "another horse, of another battery"
_POLL_SECONDS = 0.02
_ROLES = ("ROLE_CUSTOMER", "ROLE_MERCHANT")


@dataclass(frozen=True)
class Someone:
    """A buyer and merchant with two sessions; the stream of an import is open with the first one's token."""

    person: Person
    # Of the second session.
    other_token: str
    stream: Any

    async def verdicts(self, caller: Caller) -> list[tuple[str, str]]:
        """Call the product and the order service with the first token, through the edge and without it."""
        read = product_pb2.SearchProductsRequest(query="lamp", page_size=1)
        orders = order_pb2.ListOrdersRequest(page_size=1)
        outcomes = await asyncio.gather(
            caller.call_rest(PRODUCTS + "SearchProducts", read, self.person.token),
            caller.call_direct(PRODUCTS + "SearchProducts", read, self.person.token),
            caller.call_grpc(ORDERS + "ListOrders", orders, self.person.token),
            caller.call_direct(ORDERS + "ListOrders", orders, self.person.token),
        )
        return [outcome.verdict for outcome in outcomes]

    async def end_of_stream(self) -> tuple[str, str]:
        """Wait until the stream has ended, and say with what."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.stream
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            return str(failure.code), failure.reason
        return "OK", ""

    async def is_untouched(self, caller: Caller) -> bool:
        """Tell whether every call succeeds and the stream is open."""
        return set(await self.verdicts(caller)) == {("OK", "")} and not self.stream.done()


@asynccontextmanager
async def someone(caller: Caller, admin: str, channel: grpc.aio.Channel) -> AsyncIterator[Someone]:
    """Register somebody and open their stream, for the life of a block."""
    person = await new_customer(caller)
    await _give_roles(caller, admin, person, _ROLES)
    first, second = await log_in(caller, person.email), await log_in(caller, person.email)
    token = first.tokens.access_token
    stub: Any = product_pb2_grpc.ProductServiceStub(channel)  # type: ignore[no-untyped-call, unused-ignore]
    stream = stub.ImportProducts(metadata=(("authorization", f"Bearer {token}"),))
    row = product_pb2.ImportProductsRequest(row_number=1)
    await stream.write(row)
    try:
        yield Someone(
            replace(person, token=token, session_id=first.session.session_id),
            second.tokens.access_token,
            stream,
        )
    finally:
        stream.cancel()


async def _give_roles(caller: Caller, admin: str, person: Person, roles: Sequence[str]) -> None:
    request = user_pb2.UpdateUserRequest(user=user_pb2.User(user_id=person.user_id, roles=roles))
    _ = (await caller.call_rest(USERS + "UpdateUser", request, admin)).response


async def log_out(caller: Caller, _: str, who: Someone) -> None:
    """They end the session themselves, with its own token."""
    request = auth_pb2.DeleteSessionRequest(session_id=who.person.session_id)
    _ = (await caller.call_rest(AUTH + "DeleteSession", request, who.person.token)).response


async def end_elsewhere(caller: Caller, _: str, who: Someone) -> None:
    """They end it from another device."""
    request = auth_pb2.EndSessionsRequest(user_id="me", keep_current=True)
    _ = (await caller.call_rest(AUTH + "EndSessions", request, who.other_token)).response


async def change_password(caller: Caller, _: str, who: Someone) -> None:
    """They change the password on another device."""
    request = auth_pb2.ChangePasswordRequest(old_password=PASSWORD, new_password=_NEW_PASSWORD)
    _ = (await caller.call_rest(AUTH + "ChangePassword", request, who.other_token)).response


async def close_account(caller: Caller, admin: str, who: Someone) -> None:
    """An administrator closes the account."""
    request = user_pb2.DeleteUserRequest(user_id=who.person.user_id)
    _ = (await caller.call_rest(USERS + "DeleteUser", request, admin)).response


async def withdraw_role(caller: Caller, admin: str, who: Someone) -> None:
    """An administrator takes a role away."""
    await _give_roles(caller, admin, who.person, _ROLES[:1])


async def disable(caller: Caller, admin: str, who: Someone) -> None:
    """An administrator bars the account."""
    user = user_pb2.User(user_id=who.person.user_id, disabled=True)
    request = user_pb2.UpdateUserRequest(user=user, update_mask={"paths": ["disabled"]})
    _ = (await caller.call_rest(USERS + "UpdateUser", request, admin)).response


Cause: TypeAlias = Callable[[Caller, str, Someone], Awaitable[None]]
CAUSES: tuple[Cause, ...] = (
    log_out,
    end_elsewhere,
    change_password,
    disable,
    close_account,
    withdraw_role,
)


async def seconds_until_refused(caller: Caller, who: Someone, since: float) -> float:
    """Wait until every call of somebody's is refused as ended, their stream too; how long that took."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while set(await who.verdicts(caller)) != {ENDED}:  # noqa: ASYNC110  it is in other processes
            await asyncio.sleep(_POLL_SECONDS)
    assert await who.end_of_stream() == ENDED
    return time.monotonic() - since
