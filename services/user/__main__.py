"""Starts the user service: `serve`, and `migrate` for its database. Wiring only."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.user.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    oauth_pb2,
    oauth_pb2_grpc,
    recovery_pb2,
    recovery_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)

from services.process import utc_now
from services.rpc.endings_feed import EndingsFeed, hear_own
from services.rpc.feed import EventFeedServicer
from services.rpc.identity import TokenVerifier
from services.rpc.main import service_main
from services.rpc.server import serve, service_names
from services.settings import (
    RedisSettings,
    ServiceSettings,
    existing_file,
    load_or_exit,
    public_url,
    variable,
)
from services.storage.cache import open_redis
from services.storage.events import EventLog, hear_commits
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
from services.user.oauth.servicer import OAuthServicer
from services.user.oauth.store import forget_authorizations
from services.user.recovery.servicer import RecoveryServicer
from services.user.sessions.authentication import Authentication
from services.user.sessions.keys import KeyFile
from services.user.sessions.servicer import AuthServicer
from services.user.sessions.store import forget_sessions, forget_used_tokens
from services.user.sessions.throttle import LoginThrottle
from services.user.sessions.tokens import TokenSigner

_NAME = "user"
_FORGETS = (
    *(forget_answers, forget_used_tokens, forget_sessions, forget_authorizations),
    *(forget_mails, forget_counted),
)


def _signing_keys(text: str) -> KeyFile:
    return KeyFile(existing_file(text))


@dataclass(frozen=True, kw_only=True)
class ServeSettings(ServiceSettings):
    """What the user service is started with."""

    redis: RedisSettings
    mail: MailSettings
    signing_keys: KeyFile = variable(  # noqa: RUF009  declares, holds nothing
        "COMMERCE_SIGNING_KEY_FILE", _signing_keys, about="the Ed25519 keys that sign tokens (PEM)"
    )
    public_url: str = variable(
        "COMMERCE_PUBLIC_URL", public_url, about="where people and clients reach the mesh, https or loopback"
    )


def _sending(pool: Pool, settings: MailSettings, tokens: MailTokens) -> Sending:
    letters = Letters(settings.product, settings.sender, settings.link_base)
    return Sending(pool, mailer_of(settings), letters=letters, tokens=tokens, clock=utc_now)


def _hearing(verifier: TokenVerifier, feed: EventFeedServicer) -> EndingsFeed:
    """Let the service hear what ends tokens: of itself at once, of its other processes by the log."""
    hear_commits(hear_own(verifier.endings))
    return EndingsFeed(verifier.endings, feed.follow)


def _oauth(
    pool: Pool, asking: Authentication, signer: TokenSigner, verifier: TokenVerifier, issuer: str
) -> OAuthServicer:
    return OAuthServicer(
        pool, authentication=asking, signer=signer, verifier=verifier, issuer=issuer, clock=utc_now
    )


async def _serve() -> None:
    settings = load_or_exit(ServeSettings)
    logs.configure(_NAME, settings.telemetry)
    issuer, audience = settings.tokens.issuer, settings.tokens.audience
    signer = TokenSigner(settings.signing_keys, issuer=issuer, audience=audience)
    pool = await open_pool(settings.database)
    redis = open_redis(settings.redis)
    passwords = Passwords()
    pages = Pages(settings.pages.token_keys)
    event_log = EventLog(pool, _NAME, settings.database)
    feed = EventFeedServicer(event_log)
    forgetting = Forgetting(pool, _FORGETS)
    mail_tokens = MailTokens(settings.mail.token_keys)
    sending = _sending(pool, settings.mail, mail_tokens)
    verifier = TokenVerifier(issuer, audience, signer.verification_keys)
    hearing = _hearing(verifier, feed)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        throttle = LoginThrottle(redis)
        users = UserServicer(pool, pages, passwords=passwords, throttle=throttle, clock=utc_now)
        auth = AuthServicer(pool, pages, passwords=passwords, throttle=throttle, signer=signer, clock=utc_now)
        recovery = RecoveryServicer(
            pool, passwords=passwords, throttle=throttle, tokens=mail_tokens, clock=utc_now
        )
        asking = Authentication(pool, passwords, throttle)
        oauth = _oauth(pool, asking, signer, verifier, settings.public_url)
        user_pb2_grpc.add_UserServiceServicer_to_server(users, server)
        auth_pb2_grpc.add_AuthServiceServicer_to_server(auth, server)
        recovery_pb2_grpc.add_RecoveryServiceServicer_to_server(recovery, server)
        oauth_pb2_grpc.add_OAuthServiceServicer_to_server(oauth, server)
        event_pb2_grpc.add_EventFeedServicer_to_server(feed, server)
        return service_names(user_pb2, auth_pb2, recovery_pb2, oauth_pb2, event_pb2)

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
