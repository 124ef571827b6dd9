"""Starts the user service: `serve`, and `migrate` for its database. Wiring only."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.user.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    recovery_pb2,
    recovery_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

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
from services.user.audit.chaining import Chaining
from services.user.audit.failed_log_ins import FailedLogIns
from services.user.audit.servicer import AuditServicer
from services.user.audit.store import forget_audit_events
from services.user.mail.letters import Letters
from services.user.mail.sending import Sending
from services.user.mail.settings import MailSettings, mailer_of
from services.user.mail.store import forget_counted, forget_mails
from services.user.mail.tokens import MailTokens
from services.user.recovery.servicer import RecoveryServicer
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


def _sending(pool: Pool, settings: MailSettings, tokens: MailTokens) -> Sending:
    letters = Letters(settings.product, settings.sender, settings.link_base)
    return Sending(pool, mailer_of(settings), letters=letters, tokens=tokens, clock=utc_now)


def _forgetting(pool: Pool) -> Forgetting:
    of_sessions = [forget_used_tokens, forget_sessions]
    return Forgetting(pool, [forget_answers, *of_sessions, forget_mails, forget_counted, forget_audit_events])


def _hearing(verifier: TokenVerifier, feed: EventFeedServicer) -> EndingsFeed:
    """Let the service hear what ends tokens: of itself at once, of its other processes by the log."""
    hear_commits(hear_own(verifier.endings))
    return EndingsFeed(verifier.endings, feed.follow)


async def _serve() -> None:
    settings = load_or_exit(ServeSettings)
    logs.configure(_NAME, settings.telemetry)
    issuer, audience = settings.tokens.issuer, settings.tokens.audience
    signer = TokenSigner(settings.signing_key, issuer=issuer, audience=audience)
    pool = await open_pool(settings.database)
    redis = open_redis(settings.redis)
    passwords = Passwords()
    pages = Pages(settings.pages.token_keys)
    event_log = EventLog(pool, _NAME, settings.database)
    feed = EventFeedServicer(event_log)
    mail_tokens = MailTokens(settings.mail.token_keys)
    sending = _sending(pool, settings.mail, mail_tokens)
    verifier = TokenVerifier(issuer, audience, signer.verification_keys)
    hearing = _hearing(verifier, feed)

    failed = FailedLogIns(utc_now)
    throttle = LoginThrottle(redis, failed)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        users = UserServicer(pool, pages, passwords=passwords, throttle=throttle, clock=utc_now)
        auth = AuthServicer(pool, pages, passwords=passwords, throttle=throttle, signer=signer, clock=utc_now)
        recovery = RecoveryServicer(
            pool, passwords=passwords, throttle=throttle, tokens=mail_tokens, clock=utc_now
        )
        user_pb2_grpc.add_UserServiceServicer_to_server(users, server)
        auth_pb2_grpc.add_AuthServiceServicer_to_server(auth, server)
        recovery_pb2_grpc.add_RecoveryServiceServicer_to_server(recovery, server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(pool, pages, utc_now), server)
        event_pb2_grpc.add_EventFeedServicer_to_server(feed, server)
        return service_names(user_pb2, auth_pb2, recovery_pb2, audit_pb2, event_pb2)

    loops = [hearing.run, event_log.run_sequencer, _forgetting(pool).run, sending.run]
    await serve(
        _NAME,
        settings.server,
        register=register,
        verifier=verifier,
        background=[*loops, Chaining(pool).run, partial(failed.run, pool)],
        on_close=[passwords.close, redis.aclose, partial(failed.close, pool), pool.close],
    )


if __name__ == "__main__":
    service_main(_NAME, ServeSettings, _serve)
