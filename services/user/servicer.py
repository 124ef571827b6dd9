"""UserService: messages to accounts and back, and where each transaction begins and ends."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
from commerce.user.v1 import user_pb2, user_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from services import paging
from services.errors import RequestIdReused
from services.identity import caller
from services.postgres import Pool, connection, transaction
from services.user import domain, registration, store
from services.user.messages import change_of, user_message
from services.user.ownership import owned_user_id
from services.user.passwords import Passwords

Context = grpc.aio.ServicerContext[Any, Any]

_LIST = "ListUsers"


class UserServicer(user_pb2_grpc.UserServiceServicer):
    """People and their accounts."""

    def __init__(self, pool: Pool, passwords: Passwords, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._passwords = passwords
        self._clock = clock

    async def CreateUser(self, request: user_pb2.CreateUserRequest, context: Context) -> user_pb2.User:
        """Register a customer; a repeated request_id gets the first answer (AIP-155)."""
        async with connection(self._pool) as conn:
            earlier = await registration.find(conn, request)
        return await self._register(request) if earlier is None else await self._repeat(request, earlier)

    async def GetUser(self, request: user_pb2.GetUserRequest, context: Context) -> user_pb2.User:
        """Read an account."""
        user_id = owned_user_id(request.user_id)
        async with connection(self._pool) as conn:
            return user_message(await store.get_user(conn, user_id))

    async def UpdateUser(self, request: user_pb2.UpdateUserRequest, context: Context) -> user_pb2.User:
        """Change an account; changing nothing is no event and no new version."""
        user_id = owned_user_id(request.user.user_id)
        change = change_of(request)
        async with transaction(self._pool) as conn:
            user = await store.get_user_for_update(conn, user_id)
            domain.check_etag(user, request.user.etag)
            user, event = domain.update(
                user, change, may_change_roles=caller().acts_for_any, now=self._clock()
            )
            if event is not None:
                await store.update_user(conn, user, event)
        return user_message(user)

    async def DeleteUser(self, request: user_pb2.DeleteUserRequest, context: Context) -> Empty:
        """Close an account; doing it again is NOT_FOUND (AIP-135)."""
        user_id = owned_user_id(request.user_id)
        async with transaction(self._pool) as conn:
            user = await store.get_user_for_update(conn, user_id)
            domain.check_etag(user, request.etag)
            await store.delete_user(conn, *domain.close(user, self._clock()))
        return Empty()

    async def ListUsers(
        self, request: user_pb2.ListUsersRequest, context: Context
    ) -> user_pb2.ListUsersResponse:
        """List accounts, newest first."""
        size = paging.page_size(request.page_size)
        after = paging.decode_token(request.page_token, filter=_LIST)
        before = after["user_id"] if after else store.AFTER_ALL
        async with connection(self._pool) as conn:
            users = await store.list_users(conn, before=before, limit=size + 1)
        page = users[:size]
        response = user_pb2.ListUsersResponse(users=map(user_message, page))
        if len(users) > size:
            response.next_page_token = paging.encode_token({"user_id": page[-1].user_id}, filter=_LIST)
        return response

    async def _register(self, request: user_pb2.CreateUserRequest) -> user_pb2.User:
        # Before the transaction: its connection must not wait for a hash.
        password_hash = await self._passwords.hash(request.password)
        async with transaction(self._pool) as conn:
            user, event = domain.register(
                await store.new_user_id(conn), request.user.email, request.user.display_name, self._clock()
            )
            answer = user_message(user)
            earlier = await registration.keep(conn, request, answer)
            if earlier is None:
                await store.insert_user(conn, user, event, password_hash)
        # Otherwise another attempt of the same request was faster.
        return answer if earlier is None else await self._repeat(request, earlier)

    async def _repeat(self, request: user_pb2.CreateUserRequest, earlier: user_pb2.User) -> user_pb2.User:
        async with connection(self._pool) as conn:
            password_hash = await store.find_password_hash(conn, UUID(earlier.user_id))
        if not await self._passwords.verify(password_hash, request.password):
            raise RequestIdReused("request_id was used before, for another request")
        return registration.complete(request, earlier)
