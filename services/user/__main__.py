"""Starts the user service: `serve`, and `migrate` for its database. Wiring only."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias, TypedDict

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.user.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    oauth_pb2,
    oauth_pb2_grpc,
    privacy_pb2,
    privacy_pb2_grpc,
    recovery_pb2,
    recovery_pb2_grpc,
    second_factor_pb2,
    second_factor_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)

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
    public_url,
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
from services.user.audit.chaining import Chaining
from services.user.audit.failed_log_ins import FailedLogIns
from services.user.audit.servicer import AuditServicer
from services.user.audit.store import forget_audit_events
from services.user.mail.letters import Letters
from services.user.mail.sending import Sending
from services.user.mail.settings import MailSettings, mailer_of
from services.user.mail.store import forget_counted, forget_mails
from services.user.mail.tokens import MailTokens
from services.user.oauth.servicer import OAuthServicer
from services.user.oauth.store import forget_authorizations
from services.user.privacy.erasing import Erasing, days
from services.user.privacy.keys import KeyFile, key_file
from services.user.privacy.rotation import Rotation
from services.user.privacy.sealing import Sealing
from services.user.privacy.servicer import PrivacyServicer
from services.user.privacy.vault import Vault
from services.user.recovery.servicer import RecoveryServicer
from services.user.second_factor.check import SecondFactors
from services.user.second_factor.sealing import ShopSealer
from services.user.second_factor.servicer import SecondFactorServicer
from services.user.sessions.authentication import Authentication
from services.user.sessions.devices import DeviceMarks
from services.user.sessions.endings import Ended
from services.user.sessions.keys import KeyFile as SigningKeys
from services.user.sessions.origins import Origins
from services.user.sessions.over_store import forget_sessions, forget_used_tokens
from services.user.sessions.servicer import AuthServicer
from services.user.sessions.throttle import LoginThrottle
from services.user.sessions.tokens import TokenSigner

_NAME = "user"
_FORGETS = (
    *(forget_answers, forget_used_tokens, forget_sessions, forget_authorizations),
    *(forget_mails, forget_counted, forget_audit_events),
)


Loop: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class _Shared(TypedDict):
    """What all servicers have."""

    vault: Vault
    passwords: Passwords
    throttle: LoginThrottle
    clock: Callable[[], datetime]


class _OfPeople(TypedDict):
    """What keeps what is personal."""

    erasing: Erasing
    rotation: Rotation


class _Proofs(TypedDict):
    """What judges log-ins beside the password."""

    factors: SecondFactors
    origins: Origins


def _signing_keys(text: str) -> SigningKeys:
    return SigningKeys(existing_file(text))


@dataclass(frozen=True, kw_only=True)
class ServeSettings(ServiceSettings):
    """What the user service is started with."""

    redis: RedisSettings
    mail: MailSettings
    personal_keys: KeyFile = variable(  # noqa: RUF009  declares, holds nothing
        "COMMERCE_PERSONAL_KEY_FILE", key_file, about="the keys of what is personal (docs/personal-data.md)"
    )
    erase_after_days: float = variable(
        "COMMERCE_ERASE_AFTER_DAYS",
        days,
        default=30.0,
        about="from the closing of an account to its erasure; 0: at once",
    )
    signing_keys: SigningKeys = variable(  # noqa: RUF009  declares, holds nothing
        "COMMERCE_SIGNING_KEY_FILE", _signing_keys, about="the Ed25519 keys that sign tokens (PEM)"
    )
    public_url: str = variable(
        "COMMERCE_PUBLIC_URL", public_url, about="where people and clients reach the mesh, https or loopback"
    )
    login_keys: tuple[bytes, ...] = variable(
        "COMMERCE_LOGIN_KEY_FILE",
        secret_lines,
        about="secrets of second factors and of devices that are known, one a line: the first makes",
    )


def _sending(pool: Pool, settings: MailSettings, vault: Vault, tokens: MailTokens) -> Sending:
    letters = Letters(settings.product, settings.sender, settings.link_base)
    return Sending(pool, mailer_of(settings), vault=vault, letters=letters, tokens=tokens, clock=utc_now)


def _add_people(
    server: grpc.aio.Server,
    settings: ServeSettings,
    pool: Pool,
    shared: _Shared,
    *,
    erasing: Erasing,
    rotation: Rotation,
    signer: TokenSigner,
    ended: Ended,
    factors: SecondFactors,
    origins: Origins,
) -> None:
    """Add the servicers of accounts and log-ins."""
    pages = Pages(settings.pages.token_keys)
    users = UserServicer(pool, pages, erasing=erasing, **shared)
    auth = AuthServicer(pool, pages, signer=signer, ended=ended, factors=factors, origins=origins, **shared)
    recovery = RecoveryServicer(pool, tokens=MailTokens(settings.mail.token_keys), **shared)
    privacy = PrivacyServicer(
        pool, pages, vault=shared["vault"], erasing=erasing, rotation=rotation, clock=utc_now
    )
    second = SecondFactorServicer(
        pool,
        vault=shared["vault"],
        factors=factors,
        throttle=shared["throttle"],
        shop=settings.mail.product,
        clock=utc_now,
    )
    user_pb2_grpc.add_UserServiceServicer_to_server(users, server)
    auth_pb2_grpc.add_AuthServiceServicer_to_server(auth, server)
    recovery_pb2_grpc.add_RecoveryServiceServicer_to_server(recovery, server)
    privacy_pb2_grpc.add_PrivacyServiceServicer_to_server(privacy, server)
    second_factor_pb2_grpc.add_SecondFactorServiceServicer_to_server(second, server)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(pool, pages, utc_now), server)


def _add_oauth(
    server: grpc.aio.Server,
    settings: ServeSettings,
    pool: Pool,
    shared: _Shared,
    *,
    signer: TokenSigner,
    verifier: TokenVerifier,
    factors: SecondFactors,
    origins: Origins,
) -> None:
    oauth = OAuthServicer(
        pool,
        authentication=Authentication(pool, shared["passwords"], shared["throttle"], shared["vault"]),
        factors=factors,
        origins=origins,
        vault=shared["vault"],
        signer=signer,
        verifier=verifier,
        issuer=settings.public_url,
        clock=utc_now,
    )
    oauth_pb2_grpc.add_OAuthServiceServicer_to_server(oauth, server)


def _proofs(pool: Pool, settings: ServeSettings, vault: Vault, failed: FailedLogIns) -> _Proofs:
    return _Proofs(
        factors=SecondFactors(vault, ShopSealer(settings.login_keys), failed),
        origins=Origins(pool, vault, DeviceMarks(settings.login_keys), utc_now),
    )


def _people(pool: Pool, settings: ServeSettings, vault: Vault) -> tuple[_OfPeople, Sequence[Loop]]:
    """Return what erases and what rotates, and the loops that keep what is personal."""
    erasing = Erasing(pool, vault, timedelta(days=settings.erase_after_days), utc_now)
    rotation = Rotation(pool, vault, ShopSealer(settings.login_keys))
    loops = [Sealing(pool, vault).run, rotation.run, erasing.run]
    return _OfPeople(erasing=erasing, rotation=rotation), loops


async def _serve() -> None:
    settings = load_or_exit(ServeSettings)
    logs.configure(_NAME, settings.telemetry)
    issuer, audience = settings.tokens.issuer, settings.tokens.audience
    signer = TokenSigner(settings.signing_keys, issuer=issuer, audience=audience)
    pool = await open_pool(settings.database)
    redis = open_redis(settings.redis)
    passwords = Passwords(settings.mail.product)
    event_log = EventLog(pool, _NAME, settings.database)
    feed = EventFeedServicer(event_log)
    forgetting = Forgetting(pool, _FORGETS)
    vault = Vault(settings.personal_keys)
    sending = _sending(pool, settings.mail, vault, MailTokens(settings.mail.token_keys))
    of_people, loops_of_people = _people(pool, settings, vault)
    verifier = TokenVerifier(issuer, audience, signer.verification_keys)
    ended = Ended(pool, event_log)
    hearing = EndingsFeed(verifier.endings, ended.source(feed))

    failed = FailedLogIns(utc_now)
    throttle = LoginThrottle(redis, failed)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        shared = _Shared(vault=vault, passwords=passwords, throttle=throttle, clock=utc_now)
        proofs = _proofs(pool, settings, vault, failed)
        _add_people(server, settings, pool, shared, signer=signer, ended=ended, **of_people, **proofs)
        _add_oauth(server, settings, pool, shared, signer=signer, verifier=verifier, **proofs)
        event_pb2_grpc.add_EventFeedServicer_to_server(feed, server)
        people = (user_pb2, auth_pb2, recovery_pb2, second_factor_pb2, privacy_pb2, oauth_pb2, audit_pb2)
        return service_names(*people, event_pb2)

    loops = [hearing.run, event_log.run_sequencer, forgetting.run, sending.run]
    await serve(
        _NAME,
        settings.server,
        register=register,
        verifier=verifier,
        background=[*loops, *loops_of_people, Chaining(pool).run, partial(failed.run, pool)],
        on_close=[passwords.close, redis.aclose, partial(failed.close, pool), pool.close],
    )


if __name__ == "__main__":
    service_main(_NAME, ServeSettings, _serve)
