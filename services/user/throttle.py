"""Counts failed log-ins of one account in Valkey, so that passwords cannot be guessed by trying."""

import asyncio
import hashlib

import redis.asyncio
import redis.exceptions
import structlog

from services.user.domain import LoginThrottled

# A person who has forgotten tries fewer; a million common passwords would take 2,800 years.
_MAX_FAILURES = 10
_WINDOW_SECONDS = 15 * 60
# Fewer than the client's connections: out of those it fails, and a flood would go by uncounted.
_PLACES = 32

log = structlog.get_logger(__name__)


class LoginThrottle:
    """Refuses log-ins of an account that failed too often, whether it exists or not.

    When Valkey is lost, log-ins go on unthrottled: the hashing's own bound and the edge's rate limit remain.
    """

    def __init__(self, redis_client: redis.asyncio.Redis) -> None:
        self._redis = redis_client
        self._places = asyncio.Semaphore(_PLACES)

    async def count_failure(self, email: str) -> None:
        """Count a failure before the password is judged, so that parallel guesses are all counted.

        Raises:
            LoginThrottled: too many failed; says when to come back.
        """
        key = _key(email)
        try:
            async with self._places, self._redis.pipeline(transaction=True) as pipe:
                pipe.incr(key)
                # The first failure opens the window; later ones do not prolong it.
                pipe.expire(key, _WINDOW_SECONDS, nx=True)
                pipe.ttl(key)
                count, _, seconds_left = await pipe.execute()
        except redis.exceptions.RedisError as error:
            _log_loss(error)
            return
        if count > _MAX_FAILURES:
            raise LoginThrottled("too many failed log-ins: try again later", retry_after_seconds=seconds_left)

    async def take_back_failure(self, email: str) -> None:
        """Take back the last count: the password was not judged."""
        key = _key(email)
        try:
            async with self._places, self._redis.pipeline(transaction=True) as pipe:
                pipe.decr(key)
                # The window may have closed in between.
                pipe.expire(key, _WINDOW_SECONDS, nx=True)
                await pipe.execute()
        except redis.exceptions.RedisError as error:
            _log_loss(error)

    async def forget_failures(self, email: str) -> None:
        """Forget what was counted: the account's owner came in."""
        try:
            async with self._places:
                await self._redis.delete(_key(email))
        except redis.exceptions.RedisError as error:
            _log_loss(error)


def _key(email: str) -> str:
    # Hashed: no personal data in a store that is not erased with the account.
    return f"login_failures:{hashlib.sha256(email.lower().encode()).hexdigest()}"


def _log_loss(error: redis.exceptions.RedisError) -> None:
    log.warning("log-ins are not throttled", cause=type(error).__name__)
