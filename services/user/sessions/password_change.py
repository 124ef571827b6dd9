"""A change of a person's password, which ends all of their other sessions in the same transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from commerce.user.v1 import auth_pb2
from google.protobuf.empty_pb2 import Empty

from services.errors import RequestIdReused
from services.storage.idempotency import RequestKey, answer_once, find_answer, optional_request_key
from services.storage.postgres import Connection, Pool, connection
from services.user.accounts import store as account_store
from services.user.accounts.domain import OpenedUser, change_password
from services.user.accounts.password_rules import check_password
from services.user.accounts.passwords import Passwords
from services.user.mail import store as mail_store
from services.user.mail.domain import Kind
from services.user.privacy.vault import Vault
from services.user.sessions import store
from services.user.sessions.authentication import Authentication
from services.user.sessions.domain import CredentialsInvalid, EndReason

_METHOD = "/commerce.user.v1.AuthService/ChangePassword"


@dataclass
class _Change:
    """One attempt, run in the transaction that keeps its answer. A twin's may be faster."""

    user_id: UUID
    keep: UUID | None
    old_hash: str
    new_hash: str
    now: datetime
    is_done: bool = False

    async def __call__(self, conn: Connection) -> Empty:
        user = await account_store.get_user_for_update(conn, self.user_id)
        changed, event = change_password(user, self.now)
        await account_store.change_password(
            conn, changed, event, old_hash=self.old_hash, new_hash=self.new_hash
        )
        reason = EndReason.PASSWORD_CHANGED
        await store.end_sessions(conn, self.user_id, reason, keep=self.keep, now=self.now)
        await mail_store.append_mail(conn, self.user_id, Kind.PASSWORD_CHANGED, now=self.now)
        self.is_done = True
        return Empty()


class PasswordChange:
    """Changes passwords of those who know the old one."""

    def __init__(
        self,
        pool: Pool,
        passwords: Passwords,
        authentication: Authentication,
        vault: Vault,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._passwords = passwords
        self._authentication = authentication
        self._vault = vault
        self._clock = clock

    async def change(self, request: auth_pb2.ChangePasswordRequest, user_id: UUID, keep: UUID | None) -> None:
        """Change a person's password and end their sessions; a repeated request_id changes nothing more.

        Args:
            request: Both passwords.
            user_id: Whose.
            keep: The session that goes on.

        Raises:
            UserNotFound: the account is closed.
            PasswordTooCommon: the new one would be guessed.
            CredentialsInvalid: the old one is not theirs.
            LoginThrottled: too many were wrong, here or at the log-in.
            VersionConflict: it was changed at the same moment.
            RequestIdReused: the request_id came before, with another password.
        """
        key = _key_of(request, user_id)
        async with connection(self._pool) as conn:
            user = self._vault.opened(await account_store.get_user(conn, user_id))
            first = await find_answer(conn, key, Empty)
        if first is None:
            change = await self._judged(request, user, keep)
            await answer_once(self._pool, key, Empty, change)
            if change.is_done:
                return
        await self._check_repeated(request, user)

    async def _judged(
        self, request: auth_pb2.ChangePasswordRequest, user: OpenedUser, keep: UUID | None
    ) -> _Change:
        # First what costs nothing: a new password that is refused is no wrong old one.
        check_password(request.new_password, (user.email, user.display_name))
        found = await self._authentication.check(user.canonical_email, request.old_password)
        new_hash = await self._passwords.hash(request.new_password)
        return _Change(user.user_id, keep, found.password_hash, new_hash, self._clock())

    async def _check_repeated(self, request: auth_pb2.ChangePasswordRequest, user: OpenedUser) -> None:
        """Check that a repeated request has the first one's new password: nothing else of it is kept."""
        try:
            await self._authentication.check(user.canonical_email, request.new_password)
        except CredentialsInvalid:
            raise RequestIdReused("request_id was used before, for another password") from None


def _key_of(request: auth_pb2.ChangePasswordRequest, user_id: UUID) -> RequestKey | None:
    # No fast hash of a password is kept.
    without_passwords = auth_pb2.ChangePasswordRequest(request_id=request.request_id)
    return optional_request_key(str(user_id), _METHOD, without_passwords)
