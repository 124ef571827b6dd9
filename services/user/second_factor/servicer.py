"""SecondFactorService: a person's second factor, turned on and off, each in one transaction."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import grpc
from commerce.user.v1 import second_factor_pb2, second_factor_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from services.rpc.identity import caller
from services.storage.postgres import Pool, connection, transaction
from services.user.accounts import store as account_store
from services.user.accounts.ownership import owned_user_id
from services.user.mail import store as mail_store
from services.user.mail.domain import Kind
from services.user.oauth.store import drop_authorizations
from services.user.privacy.vault import Vault
from services.user.second_factor import domain, store
from services.user.second_factor.check import SecondFactors
from services.user.second_factor.codes import (
    hash_recovery_code,
    new_recovery_code,
    new_secret,
    secret_text,
    secret_uri,
)
from services.user.second_factor.messages import factor_message
from services.user.sessions import store as session_store
from services.user.sessions.domain import EndReason
from services.user.sessions.throttle import LoginThrottle, Origin

Context = grpc.aio.ServicerContext[Any, Any]


class SecondFactorServicer(second_factor_pb2_grpc.SecondFactorServiceServicer):
    """Second factors.

    Args:
        pool: The service's database.
        vault: Opens addresses.
        factors: Seals secrets and judges codes.
        throttle: Counts wrong codes with wrong passwords.
        shop: What an authenticator app calls the account's place.
        clock: The time.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        vault: Vault,
        factors: SecondFactors,
        throttle: LoginThrottle,
        shop: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._factors = factors
        self._throttle = throttle
        self._shop = shop
        self._clock = clock

    async def EnrolTotp(
        self, request: second_factor_pb2.EnrolTotpRequest, context: Context
    ) -> second_factor_pb2.EnrolTotpResponse:
        """Make a secret; one that is not confirmed gives way to it."""
        user_id, secret = caller().require_subject(), new_secret()
        async with transaction(self._pool) as conn:
            user = self._vault.opened(await account_store.get_user_for_update(conn, user_id))
            domain.check_enrollable(user)
            if not await self._factors.replace(conn, user, secret, now=self._clock()):
                raise domain.TotpAlreadyOn
        uri = secret_uri(secret, user.email, self._shop)
        return second_factor_pb2.EnrolTotpResponse(secret=secret_text(secret), uri=uri)

    async def ConfirmTotp(
        self, request: second_factor_pb2.ConfirmTotpRequest, context: Context
    ) -> second_factor_pb2.ConfirmTotpResponse:
        """Turn the second factor on: from here on every session that lives has shown it."""
        user_id, session_id, now = caller().require_subject(), caller().session_id, self._clock()
        codes = [new_recovery_code() for _ in range(domain.RECOVERY_CODES)]
        async with connection(self._pool) as conn:
            email = self._vault.opened(await account_store.get_user(conn, user_id)).canonical_email
            # Before anything is counted: there is nothing to guess.
            domain.unconfirmed(await store.find_totp(conn, user_id))
        origin = Origin.of_session(session_id)
        await self._throttle.count_failure(email, origin)
        async with transaction(self._pool) as conn:
            user = await account_store.get_user_for_update(conn, user_id)
            totp = domain.unconfirmed(await store.find_totp(conn, user_id))
            step = self._factors.step_of(totp, request.totp_code, now=now)
            if step is None:
                raise domain.TotpCodeWrong
            hashes = [hash_recovery_code(user_id, code) for code in codes]
            await store.confirm_totp(conn, user_id, step, hashes, now=now)
            await account_store.append_change(conn, *domain.add(user, now))
            reason = EndReason.SECOND_FACTOR_ADDED
            await session_store.end_sessions(conn, user_id, reason, keep=session_id, now=now)
            await session_store.note_second_factor(conn, user_id)
            await drop_authorizations(conn, user_id)
            await mail_store.append_mail(conn, user_id, Kind.SECOND_FACTOR_ADDED, now=now)
        # And no wrong password of the session: who turns it on and off again would guess without end.
        await self._throttle.take_back_failure(email, origin)
        return second_factor_pb2.ConfirmTotpResponse(recovery_codes=codes)

    async def GetSecondFactor(
        self, request: second_factor_pb2.GetSecondFactorRequest, context: Context
    ) -> second_factor_pb2.SecondFactor:
        """Tell a person how far their second factor has come."""
        user_id = owned_user_id(request.user_id)
        async with connection(self._pool) as conn:
            await account_store.get_user(conn, user_id)
            return factor_message(await store.read_state(conn, user_id))

    async def RemoveTotp(self, request: second_factor_pb2.RemoveTotpRequest, context: Context) -> Empty:
        """Turn it off; where there is none, nothing happens."""
        user_id, now = owned_user_id(request.user_id), self._clock()
        async with transaction(self._pool) as conn:
            user = await account_store.get_user_for_update(conn, user_id)
            if await store.delete_second_factor(conn, user_id):
                await account_store.append_change(conn, *domain.remove(user, now))
                await mail_store.append_mail(conn, user_id, Kind.SECOND_FACTOR_REMOVED, now=now)
        return Empty()
