"""Starts the user service: `serve`, and `migrate` for its database. Wiring only."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.user.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    recovery_pb2,
    recovery_pb2_grpc,
    second_factor_pb2,
    second_factor_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis.asyncio import Redis

from services.process import utc_now
from services.rpc.endings_feed import EndingsFeed
from services.rpc.feed import EventFeedServicer
from services.rpc.identity import TokenVerifier
from services.rpc.main import service_main
from services.rpc.server import serve, service_names
from services.settings import (
    RedisSettings,
    ServiceSettings,
    existing_file,
    load_or_exit,
    secret_lines,
    variable,
)
from services.storage.cache import open_redis
from services.storage.events import EventLog
from services.storage.forgetting import Forgetting
from services.storage.idempotency import forget_answers
from services.storage.paging import Pages
from services.storage.postgres import Pool, open_pool
from services.telemetry import logs
from services.user.accounts.passwords import Passwords
from services.user.accounts.servicer import UserServicer
from services.user.mail.letters import Letters
from services.user.mail.sending import Sending
from services.user.mail.settings import MailSettings, mailer_of
from services.user.mail.store import forget_counted, forget_mails
from services.user.mail.tokens import MailTokens
from services.user.recovery.servicer import RecoveryServicer
from services.user.second_factor.check import SecondFactors
from services.user.second_factor.sealing import KeyFileSealer
from services.user.second_factor.servicer import SecondFactorServicer
from services.user.sessions.devices import DeviceMarks
from services.user.sessions.endings import Ended
from services.user.sessions.servicer import AuthServicer
from services.user.sessions.store import forget_sessions, forget_used_tokens
from services.user.sessions.throttle import LoginThrottle
from services.user.sessions.tokens import TokenSigner, read_signing_key

_NAME = "user"


def _signing_key(text: str) -> Ed25519PrivateKey:
    return read_signing_key(existing_file(text).read_bytes())


@dataclass(frozen=True, kw_only=True)
class ServeSettings(ServiceSettings):
    """What the user service is started with."""

    redis: RedisSettings
    mail: MailSettings
    signing_key: Ed25519PrivateKey = variable(  # noqa: RUF009  declares, holds nothing
        "COMMERCE_SIGNING_KEY_FILE", _signing_key, about="the Ed25519 key that signs access tokens (PEM)"
    )
    login_keys: tuple[bytes, ...] = variable(
        "COMMERCE_LOGIN_KEY_FILE",
        secret_lines,
        about="secrets of second factors and of devices that are known, one a line: the first makes",
    )


def _sending(pool: Pool, settings: MailSettings) -> Sending:
    tokens = MailTokens(settings.token_keys)
    letters = Letters(settings.product, settings.sender, settings.link_base)
    return Sending(pool, mailer_of(settings), letters=letters, tokens=tokens, clock=utc_now)


def _add_people(
    server: grpc.aio.Server,
    settings: ServeSettings,
    pool: Pool,
    redis: Redis,
    *,
    passwords: Passwords,
    signer: TokenSigner,
    ended: Ended,
) -> None:
    """Add the servicers of accounts and log-ins."""
    pages, throttle = Pages(settings.pages.token_keys), LoginThrottle(redis)
    # Keys of another kind, such as one for each person, take the place of the key file here.
    factors = SecondFactors(KeyFileSealer(settings.login_keys))
    users = UserServicer(pool, pages, passwords=passwords, throttle=throttle, clock=utc_now)
    auth = AuthServicer(
        pool,
        pages,
        passwords=passwords,
        throttle=throttle,
        signer=signer,
        ended=ended,
        factors=factors,
        marks=DeviceMarks(settings.login_keys),
        clock=utc_now,
    )
    tokens = MailTokens(settings.mail.token_keys)
    recovery = RecoveryServicer(pool, passwords=passwords, throttle=throttle, tokens=tokens, clock=utc_now)
    shop = settings.mail.product
    second = SecondFactorServicer(pool, factors=factors, throttle=throttle, shop=shop, clock=utc_now)
    user_pb2_grpc.add_UserServiceServicer_to_server(users, server)
    auth_pb2_grpc.add_AuthServiceServicer_to_server(auth, server)
    recovery_pb2_grpc.add_RecoveryServiceServicer_to_server(recovery, server)
    second_factor_pb2_grpc.add_SecondFactorServiceServicer_to_server(second, server)


async def _serve() -> None:
    settings = load_or_exit(ServeSettings)
    logs.configure(_NAME, settings.telemetry)
    issuer, audience = settings.tokens.issuer, settings.tokens.audience
    signer = TokenSigner(settings.signing_key, issuer=issuer, audience=audience)
    pool = await open_pool(settings.database)
    redis = open_redis(settings.redis)
    passwords = Passwords(settings.mail.product)
    event_log = EventLog(pool, _NAME, settings.database)
    feed = EventFeedServicer(event_log)
    forgets = [forget_answers, forget_used_tokens, forget_sessions, forget_mails, forget_counted]
    forgetting = Forgetting(pool, forgets)
    sending = _sending(pool, settings.mail)
    verifier = TokenVerifier(issuer, audience, signer.verification_keys)
    ended = Ended(pool, event_log)
    hearing = EndingsFeed(verifier.endings, ended.source(feed))

    def register(server: grpc.aio.Server) -> Sequence[str]:
        _add_people(server, settings, pool, redis, passwords=passwords, signer=signer, ended=ended)
        event_pb2_grpc.add_EventFeedServicer_to_server(feed, server)
        return service_names(user_pb2, auth_pb2, recovery_pb2, second_factor_pb2, event_pb2)

    await serve(
        _NAME,
        settings.server,
        register=register,
        verifier=verifier,
        background=[hearing.run, event_log.run_sequencer, forgetting.run, sending.run],
        on_close=[passwords.close, redis.aclose, pool.close],
    )


if __name__ == "__main__":
    service_main(_NAME, ServeSettings, _serve)
