"""UserService: messages to accounts and back, and where each transaction begins and ends."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import grpc
from commerce.user.v1 import user_pb2, user_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from services.errors import RequestIdReused
from services.etags import check_etag
from services.rpc.identity import caller
from services.storage.idempotency import answer_once, find_answer
from services.storage.paging import IdKey, Pages
from services.storage.postgres import Connection, Pool, connection, transaction
from services.user.accounts import domain, registration, store
from services.user.accounts.closing import close_account
from services.user.accounts.emails import canonical_email
from services.user.accounts.messages import change_of, shown_user, unread_user, user_message
from services.user.accounts.ownership import owned_user_id
from services.user.accounts.passwords import Passwords
from services.user.audit.domain import AuditKind, Happening
from services.user.audit.recording import record
from services.user.mail import store as mail_store
from services.user.mail.domain import Kind
from services.user.oauth.store import drop_authorizations
from services.user.privacy.domain import Sealed
from services.user.privacy.erasing import Erasing
from services.user.privacy.sealing import sealed_if_due
from services.user.privacy.vault import CannotRead, Vault
from services.user.sessions import store as session_store
from services.user.sessions.authentication import Authentication
from services.user.sessions.domain import CredentialsInvalid, EndReason
from services.user.sessions.throttle import LoginThrottle

Context = grpc.aio.ServicerContext[Any, Any]
# Opens an account in a transaction, and returns what is kept of the answer.
Work: TypeAlias = Callable[[Connection], Awaitable[user_pb2.User]]


class UserServicer(user_pb2_grpc.UserServiceServicer):
    """People and their accounts."""

    def __init__(
        self,
        pool: Pool,
        pages: Pages,
        *,
        vault: Vault,
        erasing: Erasing,
        passwords: Passwords,
        throttle: LoginThrottle,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._pages = pages
        self._vault = vault
        self._erasing = erasing
        self._passwords = passwords
        self._authentication = Authentication(pool, passwords, throttle, vault)
        self._clock = clock

    async def CreateUser(self, request: user_pb2.CreateUserRequest, context: Context) -> user_pb2.User:
        """Register a customer; a repeated request_id gets the first answer (AIP-155)."""
        key = registration.key_of(request)
        async with connection(self._pool) as conn:
            first = await find_answer(conn, key, user_pb2.User)
            user_id = await store.new_user_id(conn)
        if first is None:
            called = (request.user.email, request.user.display_name)
            domain.check_registrable(canonical_email(request.user.email))
            self._passwords.check_choice(request.password, called, "password")
            first = await answer_once(
                self._pool, key, user_pb2.User, await self._registration(request, user_id)
            )
        if first.user_id != str(user_id):
            await self._check_password(request, UUID(first.user_id))
        return registration.complete(request, first)

    async def GetUser(self, request: user_pb2.GetUserRequest, context: Context) -> user_pb2.User:
        """Read an account."""
        user_id = owned_user_id(request.user_id)
        async with connection(self._pool) as conn:
            user = await store.get_user(conn, user_id)
            if user_id != caller().subject:
                kind = AuditKind.ACCOUNT_READ
                await record(conn, Happening(kind=kind, user_id=user_id, occur_time=self._clock()))
        return shown_user(self._vault.opened(user))

    async def UpdateUser(self, request: user_pb2.UpdateUserRequest, context: Context) -> user_pb2.User:
        """Change an account; changing nothing is no event and no new version."""
        user_id = owned_user_id(request.user.user_id)
        change = change_of(request)
        if change.roles is not None or change.disabled is not None:
            caller().require_recent_login()
        async with transaction(self._pool) as conn:
            user = self._vault.opened(await store.get_user_for_update(conn, user_id))
            check_etag(request.user.etag, user.etag)
            user, event = domain.update(
                user,
                change,
                by_administrator=caller().acts_for_any,
                reads_email=caller().may_read_personal(user_id),
                now=self._clock(),
            )
            if event is not None:
                await store.update_user(conn, self._closed(user), event)
            if user.disabled and event is not None:
                reason = EndReason.ACCOUNT_DISABLED
                await session_store.end_sessions(conn, user_id, reason, keep=None, now=user.update_time)
                await drop_authorizations(conn, user_id)
        return shown_user(user)

    async def DeleteUser(self, request: user_pb2.DeleteUserRequest, context: Context) -> Empty:
        """Close an account; doing it again is NOT_FOUND (AIP-135)."""
        user_id = owned_user_id(request.user_id)
        async with transaction(self._pool) as conn:
            user = await store.get_user_for_update(conn, user_id)
            check_etag(request.etag, user.etag)
            await close_account(conn, user, self._clock())
            await self._erasing.erase_closed(conn, user_id)
        return Empty()

    async def ListUsers(
        self, request: user_pb2.ListUsersRequest, context: Context
    ) -> user_pb2.ListUsersResponse:
        """List accounts, newest first, or find the one with an address."""
        if request.email:
            return await self._find(request.email)
        page = self._pages.open(request, IdKey)
        before = page.after.id if page.after else store.AFTER_ALL
        async with connection(self._pool) as conn:
            found = await store.list_users(conn, before=before, limit=page.limit)
        users, token = await page.cut(found, self._listed, lambda user: IdKey(user.user_id))
        kind, now = AuditKind.ACCOUNTS_LISTED, self._clock()
        async with connection(self._pool) as conn:
            await record(conn, Happening(kind=kind, user_id=None, occur_time=now, count=len(users)))
        return user_pb2.ListUsersResponse(users=users, next_page_token=token)

    async def _find(self, address: str) -> user_pb2.ListUsersResponse:
        if not caller().reads_personal:
            raise domain.EmailFilterNotAllowed
        email = canonical_email(address)
        async with connection(self._pool) as conn:
            user = await store.find_user(conn, email, self._vault.digests(email))
            if user is not None:
                kind = AuditKind.ACCOUNT_READ
                await record(conn, Happening(kind=kind, user_id=user.user_id, occur_time=self._clock()))
        found = [] if user is None else [shown_user(self._vault.opened(user))]
        return user_pb2.ListUsersResponse(users=found)

    def _listed(self, user: domain.User) -> user_pb2.User:
        """Show an account; one that no key opens does not keep the others of its page from being shown."""
        try:
            return shown_user(self._vault.opened(user))
        except CannotRead:
            return unread_user(user)

    def _closed(self, user: domain.OpenedUser) -> domain.OpenedUser:
        """Return a changed account in the form that its row has."""
        if isinstance(user.personal, Sealed):
            return user.with_personal(self._vault.seal_again(user.personal, user.opened))
        return user.with_personal(user.opened)

    async def _registration(self, request: user_pb2.CreateUserRequest, user_id: UUID) -> Work:
        # Before the transaction: its connection must not wait for a hash.
        password_hash = await self._passwords.hash(request.password)

        async def work(conn: Connection) -> user_pb2.User:
            user, event = domain.register(
                user_id, request.user.email, request.user.display_name, self._clock()
            )
            user = await sealed_if_due(conn, self._vault, user)
            digests = self._vault.digests(user.canonical_email)
            await store.insert_user(conn, user, event, password_hash, digests)
            await mail_store.append_mail(conn, user_id, Kind.CONFIRM_EMAIL, now=user.create_time)
            return registration.kept_part(user_message(user))

        return work

    async def _check_password(self, request: user_pb2.CreateUserRequest, user_id: UUID) -> None:
        """Check that a repeated request has the password of the account that the first one opened."""
        email = canonical_email(request.user.email)
        try:
            await self._authentication.check_registrant(user_id, email, request.password)
        except CredentialsInvalid:
            raise RequestIdReused("request_id was used before, for another request") from None
