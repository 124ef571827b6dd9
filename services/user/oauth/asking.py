"""A person is asked: the request is judged, they log in, they decide."""

from collections.abc import Callable
from datetime import datetime

from commerce.user.v1 import oauth_pb2

from services.storage.postgres import Connection, Pool, connection, transaction
from services.user.accounts import store as account_store
from services.user.accounts.domain import User, UserNotFound
from services.user.accounts.emails import canonical_email
from services.user.accounts.store import Credentials
from services.user.oauth import domain, store
from services.user.oauth.clients import named_client
from services.user.oauth.domain import AuthorizationRequest, Client
from services.user.oauth.granting import allowed_scopes
from services.user.oauth.messages import request_of
from services.user.oauth.secrets import hash_secret, mark_password, new_secret
from services.user.second_factor.check import SecondFactors
from services.user.sessions.authentication import Authentication
from services.user.sessions.domain import AccountDisabled, CredentialsInvalid
from services.user.sessions.origins import Origins


class Asking:
    """What comes before a code."""

    def __init__(
        self,
        pool: Pool,
        authentication: Authentication,
        factors: SecondFactors,
        origins: Origins,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._authentication = authentication
        self._factors = factors
        self._origins = origins
        self._clock = clock

    async def check(
        self, request: oauth_pb2.CheckAuthorizationRequest
    ) -> oauth_pb2.CheckAuthorizationResponse:
        """Judge a request.

        Raises:
            ClientNotFound: there is no such client.
            RedirectUriUnknown: the answer would go where nobody has said it may.
            RequestRefused: the client asks for what may not be.
        """
        client, _, _ = await self._judged(request.request)
        return oauth_pb2.CheckAuthorizationResponse(client_name=client.name)

    async def begin(
        self, request: oauth_pb2.BeginAuthorizationRequest
    ) -> oauth_pb2.BeginAuthorizationResponse:
        """Log a person in, and keep what they are to decide.

        Raises:
            ClientNotFound, RedirectUriUnknown, RequestRefused: as `check`.
            CredentialsInvalid: it is nobody's password.
            SecondFactorRequired: the account has one, and none was sent. The try stays counted.
            SecondFactorInvalid: it was wrong, or used before.
            LoginThrottled: too many were wrong.
            AccountDisabled: it is right, and the account is barred.
        """
        client, asked, scopes = await self._judged(request.request)
        email = canonical_email(request.email)
        origin = await self._origins.of(request.device_token, email)
        found = await self._authentication.check(email, request.password, origin)
        await self._authentication.count_code(found.user_id, origin, request.totp_code, request.recovery_code)
        stronger = await self._authentication.stronger_hash(found.password_hash, request.password)
        consent_token, now = new_secret(), self._clock()
        async with transaction(self._pool) as conn:
            user, second_factor = await self._let_in(conn, found, request, now)
            granted = allowed_scopes(user, scopes, client)
            if not granted:
                raise domain.RequestRefused("invalid_scope", "the person may do nothing of what is asked")
            if stronger is not None:
                await account_store.strengthen_password_hash(conn, user.user_id, stronger)
            await store.drop_oldest_authorizations(conn, user.user_id)
            await store.insert_authorization(
                conn,
                client_id=client.client_id,
                user_id=user.user_id,
                redirect_uri=asked.redirect_uri,
                scopes=granted,
                code_challenge=asked.code_challenge,
                nonce=asked.nonce,
                state=asked.state,
                password_mark=mark_password(stronger or found.password_hash),
                second_factor=second_factor,
                consent_hash=hash_secret(consent_token),
                now=now,
                expire_time=now + domain.CONSENT_LIFETIME,
            )
        await self._authentication.forget(email, origin, found.user_id)
        answer = oauth_pb2.BeginAuthorizationResponse(client_name=client.name, scopes=granted)
        answer.consent_token, answer.device_token = consent_token, self._origins.mark(email, now)
        return answer

    async def decide(
        self, request: oauth_pb2.DecideAuthorizationRequest
    ) -> oauth_pb2.DecideAuthorizationResponse:
        """Take a person's decision, once.

        Raises:
            ConsentOver: there is nothing to decide, or no longer.
        """
        code, now = new_secret() if request.is_allowed else "", self._clock()
        async with transaction(self._pool) as conn:
            authorization = await store.find_by_consent(conn, hash_secret(request.consent_token))
            if authorization is None:
                raise domain.ConsentOver
            domain.check_consent(authorization, now)
            # The code ends with the consent, where that is sooner.
            expire_time = min(now + domain.CODE_LIFETIME, authorization.expire_time)
            code_hash = hash_secret(code) if code else None
            await store.decide(conn, authorization, code_hash, now=now, expire_time=expire_time)
        return oauth_pb2.DecideAuthorizationResponse(
            redirect_uri=authorization.redirect_uri, state=authorization.state, code=code
        )

    async def _let_in(
        self,
        conn: Connection,
        found: Credentials,
        request: oauth_pb2.BeginAuthorizationRequest,
        now: datetime,
    ) -> tuple[User, bool]:
        """Return a person who has shown all that is asked for, held, and whether that was a second factor."""
        user = await _held(conn, found)
        second_factor = await self._factors.check(
            conn, user.user_id, totp_code=request.totp_code, recovery_code=request.recovery_code, now=now
        )
        if user.disabled:
            raise AccountDisabled
        return user, second_factor

    async def _judged(
        self, message: oauth_pb2.AuthorizationRequest
    ) -> tuple[Client, AuthorizationRequest, tuple[str, ...]]:
        asked = request_of(message)
        async with connection(self._pool) as conn:
            client = await named_client(conn, message.client_id)
        domain.check_redirect(client, asked)
        return client, asked, domain.check_request(client, asked)


async def _held(conn: Connection, found: Credentials) -> User:
    """Return the person whose password it was, and hold them: of two at once, the second counts the first.

    Raises:
        CredentialsInvalid: the account was closed while the password was verified, or has another one now.
    """
    try:
        user = await account_store.get_user_for_update(conn, found.user_id)
    except UserNotFound:
        raise CredentialsInvalid from None
    if await account_store.find_password_hash(conn, user.user_id) != found.password_hash:
        raise CredentialsInvalid
    return user
