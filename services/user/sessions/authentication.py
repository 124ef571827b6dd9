"""Asks for a password: at a log-in, and again before it is changed. One set of counters for both."""

from services.errors import Overloaded
from services.storage.postgres import Pool, connection
from services.user.accounts.emails import CanonicalEmail
from services.user.accounts.passwords import Passwords
from services.user.accounts.store import Credentials, find_credentials
from services.user.sessions.domain import CredentialsInvalid
from services.user.sessions.throttle import LoginThrottle


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
        await self._throttle.count_failure(email)
        async with connection(self._pool) as conn:
            found = await find_credentials(conn, email)
        # Hashed in any case: how long it takes does not tell whether there is such an account.
        try:
            matches = await self._passwords.verify(found and found.password_hash, password)
        except Overloaded:
            await self._throttle.take_back_failure(email)
            raise
        if found is None or not matches:
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
