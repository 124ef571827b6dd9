"""Counts failed log-ins of one account in Valkey, so that passwords cannot be guessed by trying."""

import asyncio
import hashlib

import redis.asyncio
import redis.exceptions
import structlog

from services.user.accounts.emails import CanonicalEmail
from services.user.audit.failed_log_ins import FailedLogIns
from services.user.sessions.domain import LoginThrottled

# Why ten in 15 minutes: a person who has forgotten tries fewer, and who guesses gets 960 tries a day, 350,640
# a year, wherever they come from. A million common passwords take nearly three years at one account, three
# words of a list of 7,776 more than a million years. The 10,000 most common ones take eleven days: a lower
# limit would make weeks of them, and let a stranger shut the owner out with fewer tries.
_MAX_FAILURES = 10
_WINDOW_SECONDS = 15 * 60
# Fewer than the client's connections: out of those it fails, and a flood would go by uncounted.
_PLACES = 32

log = structlog.get_logger(__name__)


class LoginThrottle:
    """Refuses log-ins of an account that failed too often, whether it exists or not.

    When Valkey is lost, log-ins go on unthrottled: the hashing's own bound and the edge's rate limit remain.
    Counters of invented addresses end with their window. Should they fill Valkey before that, it must make
    room (allkeys-lru) rather than refuse writes: refused, no failure of anybody would be counted any more.
    A call that its caller gives up stays counted: else guesses would be free for who does not wait.
    """

    def __init__(self, redis_client: redis.asyncio.Redis, failed: FailedLogIns) -> None:
        # Those of accounts that exist, for the audit log.
        self.failed = failed
        self._redis = redis_client
        self._places = asyncio.Semaphore(_PLACES)

    async def count_failure(self, email: CanonicalEmail) -> None:
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

    async def take_back_failure(self, email: CanonicalEmail) -> None:
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

    async def forget_failures(self, email: CanonicalEmail) -> None:
        """Forget what was counted: the account's owner came in."""
        try:
            async with self._places:
                await self._redis.delete(_key(email))
        except redis.exceptions.RedisError as error:
            _log_loss(error)


def _key(email: CanonicalEmail) -> str:
    # Hashed: no personal data in a store that is not erased with the account.
    return f"login_failures:{hashlib.sha256(email.encode()).hexdigest()}"


def _log_loss(error: redis.exceptions.RedisError) -> None:
    log.warning("log-ins are not throttled", cause=type(error).__name__)
