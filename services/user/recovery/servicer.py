"""RecoveryService: tokens from mails, and what they do, each in one transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
from commerce.user.v1 import recovery_pb2, recovery_pb2_grpc, user_pb2
from google.protobuf.empty_pb2 import Empty

from services.etags import check_etag
from services.rpc.identity import calling_source
from services.storage.idempotency import RequestKey, answer_once, find_answer, optional_request_key
from services.storage.postgres import Connection, Pool, connection, transaction
from services.user.accounts import store as account_store
from services.user.accounts.domain import User, UserNotFound, confirm_email
from services.user.accounts.emails import canonical_email
from services.user.accounts.ownership import owned_user_id
from services.user.accounts.passwords import Passwords
from services.user.mail import store as mail_store
from services.user.mail.domain import MOST_AT_ONCE, TOKEN_LIFETIMES, Grant, Kind
from services.user.mail.tokens import MailTokens, mail_id_of
from services.user.privacy.vault import Vault
from services.user.recovery import domain
from services.user.sessions.authentication import Authentication
from services.user.sessions.password_change import NewPassword
from services.user.sessions.throttle import LoginThrottle, Origin

_METHOD = "/commerce.user.v1.RecoveryService/ResetPassword"
# More are not counted: whoever looks wants to know that it is too many.
_MOST_WAITING = 1_001
# Nobody is known yet: the request_id alone, 122 random bits, names the request.
_PRINCIPAL = "anyone"

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
        self._authentication = Authentication(pool, passwords, throttle, vault)
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
            user = await self.use(conn, grant, now)
            await confirm(conn, user, now)
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
        """Set a new password and end all sessions; of two calls with one token, one does it.

        A repeated request_id gets the first answer (AIP-155).
        """
        key = _key_of(request)
        first = await self._find_reset(key)
        if first is None:
            try:
                reset = await self._judged(request)
            except domain.MailTokenInvalid:
                # The first attempt of this request, whose answer was lost, may have just used the token.
                first = await self._find_reset(key)
                if first is None:
                    raise
            else:
                first = await answer_once(self._pool, key, user_pb2.User, reset)
                if reset.is_done:
                    # Whoever guesses may have shut the owner out; no guess is of any use now.
                    await self._throttle.forget_failures(reset.grant.email, _origin())
                    return Empty()
        await self._check_repeated(first, request.new_password)
        return Empty()

    async def _judged(self, request: recovery_pb2.ResetPasswordRequest) -> "_Reset":
        # Before the hash is made, which is dear: nobody has it made without a token.
        grant = await self._grant_of(request.token, Kind.RESET_PASSWORD)
        self._passwords.check_choice(request.new_password, (grant.email, grant.called), "new_password")
        new_hash = await self._passwords.hash(request.new_password)
        return _Reset(self, grant, NewPassword(new_hash), self._clock())

    async def _find_reset(self, key: RequestKey | None) -> user_pb2.User | None:
        async with connection(self._pool) as conn:
            return await find_answer(conn, key, user_pb2.User)

    async def _check_repeated(self, first: user_pb2.User, password: str) -> None:
        async with connection(self._pool) as conn:
            user = self._vault.opened(await account_store.get_user(conn, UUID(first.user_id)))
        await self._authentication.check_repeated(user, password, _origin())

    async def GetMailQueue(
        self, request: recovery_pb2.GetMailQueueRequest, context: Context
    ) -> recovery_pb2.MailQueue:
        """Tell an operator what waits."""
        async with connection(self._pool) as conn:
            count, oldest = await mail_store.read_queue(conn, most=_MOST_WAITING)
        return recovery_pb2.MailQueue(waiting_count=count, oldest_create_time=oldest)

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

    async def use(self, conn: Connection, grant: Grant, now: datetime) -> User:
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


@dataclass
class _Reset:
    """One attempt, run in the transaction that keeps its answer. A twin's may be faster."""

    servicer: RecoveryServicer
    grant: Grant
    password: NewPassword
    now: datetime
    is_done: bool = False

    async def __call__(self, conn: Connection) -> user_pb2.User:
        user = await self.servicer.use(conn, self.grant, self.now)
        # Who reads the mails of an address has confirmed it.
        user = await confirm(conn, user, self.now)
        await self.password.write(conn, user, self.now)
        self.is_done = True
        # By it a repetition finds the account, whose password is compared; no more is kept.
        return user_pb2.User(user_id=str(user.user_id))


async def confirm(conn: Connection, user: User, now: datetime) -> User:
    """Note that a person reads what is sent to their address; this transaction holds their account."""
    if user.email_verify_time is not None:
        return user
    user, event = confirm_email(user, now)
    await account_store.confirm_email(conn, user, event)
    return user


def _origin() -> Origin:
    return Origin.of_address(calling_source())


def _key_of(request: recovery_pb2.ResetPasswordRequest) -> RequestKey | None:
    # No fast hash of a password is kept. The token, of 256 bits, is part of the key: nobody else repeats it.
    without_password = recovery_pb2.ResetPasswordRequest(token=request.token, request_id=request.request_id)
    return optional_request_key(_PRINCIPAL, _METHOD, without_password)
