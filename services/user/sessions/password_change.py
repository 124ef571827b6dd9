"""A change of a person's password, by the old one or by the token of a mail: what it does is the same.

It ends the person's other sessions and has them told by a mail, in the transaction that writes the hash.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from commerce.user.v1 import auth_pb2
from google.protobuf.empty_pb2 import Empty

from services.storage.idempotency import RequestKey, answer_once, find_answer, optional_request_key
from services.storage.postgres import Connection, Pool, connection
from services.user.accounts import store as account_store
from services.user.accounts.domain import OpenedUser, User, change_password
from services.user.accounts.passwords import Passwords
from services.user.mail import store as mail_store
from services.user.mail.domain import Kind
from services.user.oauth.store import drop_authorizations
from services.user.privacy.vault import Vault
from services.user.sessions import store
from services.user.sessions.authentication import Authentication
from services.user.sessions.domain import CredentialsInvalid, EndReason, OldPasswordWrong
from services.user.sessions.throttle import Origin

_METHOD = "/commerce.user.v1.AuthService/ChangePassword"


@dataclass(frozen=True)
class NewPassword:
    """A password that is about to be an account's.

    `old_hash` is of the password that was asked for; None: the token of a mail was. `keep` is the session
    that goes on.
    """

    new_hash: str
    old_hash: str | None = None
    keep: UUID | None = None

    async def write(self, conn: Connection, user: User, now: datetime) -> None:
        """Give it to an account that this transaction holds.

        Raises:
            VersionConflict: the password is no longer the one that was asked for.
        """
        changed, event = change_password(user, now, by_mail=self.old_hash is None)
        await account_store.change_password(
            conn, changed, event, old_hash=self.old_hash, new_hash=self.new_hash
        )
        reason = EndReason.PASSWORD_CHANGED
        await store.end_sessions(conn, user.user_id, reason, keep=self.keep, now=now)
        await drop_authorizations(conn, user.user_id)
        await mail_store.append_mail(conn, user.user_id, Kind.PASSWORD_CHANGED, now=now)


@dataclass
class _Change:
    """One attempt, run in the transaction that keeps its answer. A twin's may be faster."""

    user_id: UUID
    password: NewPassword
    now: datetime
    is_done: bool = False

    async def __call__(self, conn: Connection) -> Empty:
        user = await account_store.get_user_for_update(conn, self.user_id)
        await self.password.write(conn, user, self.now)
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
            OldPasswordWrong: the old one is not theirs.
            LoginThrottled: too many were wrong, here or at the log-in.
            VersionConflict: it was changed at the same moment.
            RequestIdReused: the request_id came before, with another password.
        """
        key = _key_of(request, user_id)
        async with connection(self._pool) as conn:
            user = self._vault.opened(await account_store.get_user(conn, user_id))
        if not await self._is_answered(key):
            change = await self._judged(request, user, keep, key)
            if change is not None:
                await answer_once(self._pool, key, Empty, change)
                if change.is_done:
                    return
        await self._authentication.check_repeated(user, request.new_password, Origin.of_session(keep))

    async def _is_answered(self, key: RequestKey | None) -> bool:
        async with connection(self._pool) as conn:
            return await find_answer(conn, key, Empty) is not None

    async def _judged(
        self,
        request: auth_pb2.ChangePasswordRequest,
        user: OpenedUser,
        keep: UUID | None,
        key: RequestKey | None,
    ) -> _Change | None:
        """Judge both passwords; None where the same request has been answered meanwhile."""
        origin = Origin.of_session(keep)
        # First what costs nothing: a new password that is refused is no wrong old one.
        self._passwords.check_choice(request.new_password, (user.email, user.display_name), "new_password")
        try:
            found = await self._authentication.check(user.canonical_email, request.old_password, origin)
        except CredentialsInvalid:
            # The first attempt of this request, whose answer was lost, may have just been done.
            if await self._is_answered(key):
                return None
            raise OldPasswordWrong from None
        await self._authentication.take_back(user.canonical_email, origin)
        new_hash = await self._passwords.hash(request.new_password)
        return _Change(user.user_id, NewPassword(new_hash, found.password_hash, keep), self._clock())


def _key_of(request: auth_pb2.ChangePasswordRequest, user_id: UUID) -> RequestKey | None:
    # No fast hash of a password is kept.
    without_passwords = auth_pb2.ChangePasswordRequest(request_id=request.request_id)
    return optional_request_key(str(user_id), _METHOD, without_passwords)
