"""Asks for a password: at a log-in, before it is changed, at a repeated registration. One set of counters."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias
from uuid import UUID

from services.errors import Overloaded
from services.storage.postgres import Connection, Pool, connection
from services.user.accounts.emails import CanonicalEmail
from services.user.accounts.passwords import Passwords
from services.user.accounts.store import Credentials, find_credentials, find_password_hash
from services.user.sessions.domain import CredentialsInvalid
from services.user.sessions.throttle import LoginThrottle

Find: TypeAlias = Callable[[Connection], Awaitable[Credentials | None]]


class Authentication:
    """Judges passwords of accounts, in the same time and words whether an account exists or not."""

    def __init__(self, pool: Pool, passwords: Passwords, throttle: LoginThrottle) -> None:
        self._pool = pool
        self._passwords = passwords
        self._throttle = throttle

    async def check(self, email: CanonicalEmail, password: str) -> Credentials:
        """Return whose password it is.

        Raises:
            CredentialsInvalid: there is no such account, or it has another password.
            LoginThrottled: too many were wrong.
            Overloaded: too many are being judged. It counts for nobody.
        """
        return await self._judge(email, password, partial(find_credentials, email=email))

    async def check_registrant(self, user_id: UUID, email: CanonicalEmail, password: str) -> None:
        """Check that it is the password of an account, closed or not, that was opened with this address.

        Raises:
            CredentialsInvalid: the account has another password.
            LoginThrottled: too many were wrong, here or at the log-in.
            Overloaded: too many are being judged. It counts for nobody.
        """

        async def find(conn: Connection) -> Credentials | None:
            password_hash = await find_password_hash(conn, user_id)
            return None if password_hash is None else Credentials(user_id, password_hash)

        await self._judge(email, password, find)

    async def _judge(self, email: CanonicalEmail, password: str, find: Find) -> Credentials:
        await self._throttle.count_failure(email)
        async with connection(self._pool) as conn:
            found = await find(conn)
        # Hashed in any case: how long it takes does not tell whether there is such an account.
        try:
            matches = await self._passwords.verify(found and found.password_hash, password)
        except Overloaded:
            await self._throttle.take_back_failure(email)
            raise
        if found is None or not matches:
            if found is not None:
                self._throttle.failed.note(found.user_id)
            raise CredentialsInvalid
        await self._throttle.forget_failures(email)
        return found

    async def stronger_hash(self, password_hash: str, password: str) -> str | None:
        """Return what a weak hash is to be replaced with; None for a good one, or while there is no time."""
        if not self._passwords.is_weak(password_hash):
            return None
        try:
            return await self._passwords.hash(password)
        except Overloaded:
            # The next log-in does it.
            return None
