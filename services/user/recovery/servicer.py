"""RecoveryService: tokens from mails, and what they do, each in one transaction."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import grpc
from commerce.user.v1 import recovery_pb2, recovery_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from services.etags import check_etag
from services.storage.postgres import Connection, Pool, connection, transaction
from services.user.accounts import store as account_store
from services.user.accounts.domain import User, UserNotFound, confirm_email, reset_password
from services.user.accounts.emails import canonical_email
from services.user.accounts.ownership import owned_user_id
from services.user.accounts.password_rules import check_password
from services.user.accounts.passwords import Passwords
from services.user.mail import store as mail_store
from services.user.mail.domain import MOST_AT_ONCE, TOKEN_LIFETIMES, Grant, Kind
from services.user.mail.tokens import MailTokens, mail_id_of
from services.user.privacy.vault import Vault
from services.user.recovery import domain
from services.user.sessions import store as session_store
from services.user.sessions.domain import EndReason
from services.user.sessions.throttle import LoginThrottle

Context = grpc.aio.ServicerContext[Any, Any]


class RecoveryServicer(recovery_pb2_grpc.RecoveryServiceServicer):
    """Confirming addresses and setting new passwords."""

    def __init__(
        self,
        pool: Pool,
        *,
        vault: Vault,
        passwords: Passwords,
        throttle: LoginThrottle,
        tokens: MailTokens,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._passwords = passwords
        self._throttle = throttle
        self._tokens = tokens
        self._clock = clock

    async def RequestEmailVerification(
        self, request: recovery_pb2.RequestEmailVerificationRequest, context: Context
    ) -> Empty:
        """Write another mail that asks for the confirmation."""
        user_id, now = owned_user_id(request.user_id), self._clock()
        async with transaction(self._pool) as conn:
            # Held: of two requests at the same moment, the second one counts the mail of the first.
            user = self._vault.opened(await account_store.get_user_for_update(conn, user_id))
            check_etag(request.etag, user.etag)
            domain.check_unconfirmed(user)
            kind = Kind.CONFIRM_EMAIL
            recent = await mail_store.list_recent(conn, user_id, kind, limit=MOST_AT_ONCE, now=now)
            domain.check_mails_left(recent, now)
            # Nor to the mailbox, by other accounts: that mail would be dropped without a word.
            mailbox = self._tokens.mailbox(user.canonical_email)
            counted = await mail_store.list_counted(conn, mailbox, kind, limit=MOST_AT_ONCE, now=now)
            domain.check_mails_left(counted, now)
            await mail_store.append_mail(conn, user_id, kind, now=now)
        return Empty()

    async def ConfirmEmail(self, request: recovery_pb2.ConfirmEmailRequest, context: Context) -> Empty:
        """Confirm the address that the token was sent to."""
        grant = await self._grant_of(request.token, Kind.CONFIRM_EMAIL)
        now = self._clock()
        async with transaction(self._pool) as conn:
            user = await self._use(conn, grant, now)
            await self._confirm(conn, user, now)
        return Empty()

    async def RequestPasswordReset(
        self, request: recovery_pb2.RequestPasswordResetRequest, context: Context
    ) -> Empty:
        """Note the wish; whether there is such an account is looked at after the answer."""
        async with transaction(self._pool) as conn:
            email = canonical_email(request.email)
            await mail_store.append_reset(conn, email, self._vault.digests(email), now=self._clock())
        return Empty()

    async def ResetPassword(self, request: recovery_pb2.ResetPasswordRequest, context: Context) -> Empty:
        """Set a new password and end all sessions; of two calls with one token, one does it."""
        # Judged before the hash is made, which is dear: nobody has it made without a token.
        grant = await self._grant_of(request.token, Kind.RESET_PASSWORD)
        check_password(request.new_password, (grant.email, grant.called))
        password_hash = await self._passwords.hash(request.new_password)
        now = self._clock()
        async with transaction(self._pool) as conn:
            user = await self._use(conn, grant, now)
            # Who reads the mails of an address has confirmed it.
            user = await self._confirm(conn, user, now)
            await account_store.reset_password(conn, *reset_password(user, now), password_hash)
            await session_store.end_sessions(
                conn, user.user_id, EndReason.PASSWORD_CHANGED, keep=None, now=now
            )
            await mail_store.append_mail(conn, user.user_id, Kind.PASSWORD_CHANGED, now=now)
        # Whoever guesses may have shut the owner out; none of the guesses is of any use now.
        await self._throttle.forget_failures(grant.email)
        return Empty()

    async def _grant_of(self, token: str, kind: Kind) -> Grant:
        """Return what a token is good for, if it is one of ours and may be used now.

        Raises:
            MailTokenInvalid: it is not, or may not.
        """
        mail_id, now = mail_id_of(token), self._clock()
        if mail_id is None:
            raise domain.MailTokenInvalid
        async with connection(self._pool) as conn:
            grant = await mail_store.find_grant(conn, self._vault, mail_id, kind)
            if grant is None or not self._tokens.is_made_of(token, grant):
                raise domain.MailTokenInvalid
            if not await mail_store.is_token_good(conn, grant, now=now):
                raise domain.MailTokenInvalid
        return grant

    async def _use(self, conn: Connection, grant: Grant, now: datetime) -> User:
        """Use up a token, and all that its use makes void; return its person, who is held from here on.

        Raises:
            MailTokenInvalid: it was used in the meantime, or made void.
        """
        try:
            user = await account_store.get_user_for_update(conn, grant.user_id)
        except UserNotFound:
            raise domain.MailTokenInvalid from None
        # A statement of its own, after the wait for the lock: one snapshot for both would show the token as
        # it was before, and two could use it.
        is_good = await mail_store.is_token_good(conn, grant, now=now)
        if not is_good or self._vault.opened(user).canonical_email != grant.email:
            raise domain.MailTokenInvalid
        kinds = list(TOKEN_LIFETIMES) if grant.kind is Kind.RESET_PASSWORD else [grant.kind]
        await mail_store.void_tokens(conn, user.user_id, kinds, now=now)
        return user

    async def _confirm(self, conn: Connection, user: User, now: datetime) -> User:
        if user.email_verify_time is not None:
            return user
        user, event = confirm_email(user, now)
        await account_store.confirm_email(conn, user, event)
        return user
