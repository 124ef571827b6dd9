"""Asks for the second factor of an account that has one, in the transaction of a log-in."""

from datetime import datetime
from uuid import UUID

from services.storage.postgres import Connection
from services.user.accounts.domain import User
from services.user.audit.failed_log_ins import FailedLogIns
from services.user.privacy.domain import Sealed
from services.user.privacy.store import seals_secrets
from services.user.privacy.vault import Vault
from services.user.second_factor import store
from services.user.second_factor.codes import accepted_step, hash_recovery_code
from services.user.second_factor.domain import SecondFactorInvalid, SecondFactorRequired, Totp
from services.user.second_factor.sealing import ShopSealer


class SecondFactors:
    """Judges codes. Each is accepted once, which the database remembers.

    Args:
        vault: Opens the secrets of devices.
        of_shop: Opens those that are not under their person's data key yet.
        failed: Has the audit log told of wrong codes.
    """

    def __init__(self, vault: Vault, of_shop: ShopSealer, failed: FailedLogIns) -> None:
        self._vault = vault
        self._of_shop = of_shop
        self._failed = failed

    async def replace(self, conn: Connection, user: User, secret: bytes, *, now: datetime) -> bool:
        """Write a secret of an account that this transaction holds; False: a confirmed one is there."""
        if isinstance(user.personal, Sealed) and await seals_secrets(conn):
            data_key = user.personal.data_key
            sealed, version = self._vault.seal_secret(data_key, secret), data_key.key_version
            return await store.replace_unconfirmed(conn, user.user_id, sealed, version, now=now)
        # The version before may still run, or the account itself is not encrypted yet: the rotation moves it.
        sealed = self._of_shop.seal(secret, user.user_id.bytes)
        return await store.replace_unconfirmed(conn, user.user_id, sealed, None, now=now)

    def step_of(self, totp: Totp, code: str, *, now: datetime) -> int | None:
        """Return the time step whose code this is, if it is one of now.

        Raises:
            CannotRead: no key that is here opens the secret.
        """
        return accepted_step(self._secret(totp), code, now=now)

    def _secret(self, totp: Totp) -> bytes:
        if totp.data_key is None:
            return self._of_shop.open(totp.sealed_secret, totp.user_id.bytes)
        return self._vault.read_secret(totp.data_key, totp.sealed_secret)

    async def check(
        self, conn: Connection, user_id: UUID, *, totp_code: str, recovery_code: str, now: datetime
    ) -> bool:
        """Return whether an account that this transaction holds has a second factor; it was shown then.

        Raises:
            SecondFactorRequired: it has, and no code was sent.
            SecondFactorInvalid: the code is none of its, or was used before.
        """
        totp = await store.find_totp(conn, user_id)
        if totp is None or totp.confirm_time is None:
            return False
        if totp_code:
            step = self.step_of(totp, totp_code, now=now)
            is_right = step is not None and await store.use_step(conn, user_id, step)
        elif recovery_code:
            code_hash = hash_recovery_code(user_id, recovery_code)
            is_right = await store.use_recovery_code(conn, user_id, code_hash, now=now)
        else:
            raise SecondFactorRequired
        if not is_right:
            # Not in this transaction, which is rolled back.
            self._failed.note_second_factor(user_id)
            raise SecondFactorInvalid
        return True
