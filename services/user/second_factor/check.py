"""Asks for the second factor of an account that has one, in the transaction of a log-in."""

from datetime import datetime
from uuid import UUID

from services.storage.postgres import Connection
from services.user.audit.failed_log_ins import FailedLogIns
from services.user.second_factor import store
from services.user.second_factor.codes import accepted_step, hash_recovery_code
from services.user.second_factor.domain import SecondFactorInvalid, SecondFactorRequired, Totp
from services.user.second_factor.sealing import Sealer


class SecondFactors:
    """Judges codes. Each is accepted once, which the database remembers.

    Args:
        sealer: Opens the secrets of devices.
        failed: Has the audit log told of wrong codes.
    """

    def __init__(self, sealer: Sealer, failed: FailedLogIns) -> None:
        self._sealer = sealer
        self._failed = failed

    def seal(self, user_id: UUID, secret: bytes) -> bytes:
        """Return what is kept of an account's secret: it opens for no other."""
        return self._sealer.seal(secret, user_id.bytes)

    def step_of(self, totp: Totp, code: str, *, now: datetime) -> int | None:
        """Return the time step whose code this is, if it is one of now."""
        return accepted_step(self._sealer.open(totp.sealed_secret, totp.user_id.bytes), code, now=now)

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
