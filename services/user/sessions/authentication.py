"""Asks for a password: at a log-in, before it is changed, at a repeated registration. One set of counters."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias
from uuid import UUID

from services.errors import Overloaded, RequestIdReused
from services.rpc.identity import calling_source
from services.storage.postgres import Connection, Pool, connection
from services.user.accounts.domain import OpenedUser
from services.user.accounts.emails import CanonicalEmail
from services.user.accounts.passwords import Passwords
from services.user.accounts.store import Credentials, find_credentials, find_password_hash
from services.user.privacy.vault import Vault
from services.user.sessions.domain import CredentialsInvalid
from services.user.sessions.throttle import LoginThrottle, Origin

Find: TypeAlias = Callable[[Connection], Awaitable[Credentials | None]]


class Authentication:
    """Judges passwords of accounts, in the same time and words whether an account exists or not."""

    def __init__(self, pool: Pool, passwords: Passwords, throttle: LoginThrottle, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault
        self._passwords = passwords
        self._throttle = throttle

    async def check(self, email: CanonicalEmail, password: str, origin: Origin) -> Credentials:
        """Return whose password it is. It stays counted as a failure until `forget`: more may be asked for.

        Raises:
            CredentialsInvalid: there is no such account, or it has another password.
            LoginThrottled: too many were wrong.
            Overloaded: too many are being judged. It counts for nobody.
        """
        return await self._judge(
            email,
            password,
            origin,
            partial(find_credentials, email=email, digests=self._vault.digests(email)),
        )

    async def count_code(self, user_id: UUID, origin: Origin, *codes: str) -> None:
        """Count a code of a second factor, if one was sent, until `forget`: of a known origin, or all others.

        Raises:
            LoginThrottled: too many were wrong.
        """
        if any(codes):
            await self._throttle.count_code(user_id, origin)

    async def forget(self, email: CanonicalEmail, origin: Origin, user_id: UUID) -> None:
        """Forget the failures of an origin that has shown all that was asked for, and the account's codes."""
        await self._throttle.forget_failures(email, origin, user_id)

    async def take_back(self, email: CanonicalEmail, origin: Origin) -> None:
        """Take back the count of a right password, where nothing else was asked for, and no other count."""
        await self._throttle.take_back_failure(email, origin)

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

        origin = Origin.of_address(calling_source())
        await self._judge(email, password, origin, find)
        await self.take_back(email, origin)

    async def check_repeated(self, user: OpenedUser, password: str, origin: Origin) -> None:
        """Check that a repeated request has the first one's password: nothing else of it is kept.

        Raises:
            RequestIdReused: the first one had another.
            LoginThrottled: too many were wrong.
        """
        try:
            await self.check(user.canonical_email, password, origin)
        except CredentialsInvalid:
            raise RequestIdReused("request_id was used before, for another password") from None
        await self.take_back(user.canonical_email, origin)

    async def _judge(self, email: CanonicalEmail, password: str, origin: Origin, find: Find) -> Credentials:
        with self._passwords.reserve() as place:
            await self._throttle.count_failure(email, origin)
            async with connection(self._pool) as conn:
                found = await find(conn)
            # Hashed in any case: how long it takes does not tell whether there is such an account.
            try:
                matches = await self._passwords.verify(found and found.password_hash, password, place)
            except Overloaded:
                await self._throttle.take_back_failure(email, origin)
                raise
        if found is None or not matches:
            if found is not None:
                self._throttle.failed.note(found.user_id)
            raise CredentialsInvalid
        return found

    async def stronger_hash(self, password_hash: str, password: str) -> str | None:
        """Return what a weak hash is to be replaced with; None for a good one, or while there is no time.

        None too where the hash is not of the whole password: what was typed may have a slip at its end.
        """
        if not self._passwords.is_weak(password_hash) or not self._passwords.is_whole(
            password_hash, password
        ):
            return None
        try:
            return await self._passwords.hash(password)
        except Overloaded:
            # The next log-in does it.
            return None
