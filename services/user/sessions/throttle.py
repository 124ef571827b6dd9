"""Counts failed log-ins in Valkey, so that passwords cannot be guessed, and nobody can shut an owner out.

Three counters, and who is counted by which:

- **Of one origin at one account.** Nine wrong passwords are free; after that each doubles the wait, from
  five seconds to a quarter of an hour. It is forgotten by a log-in, or after an hour of quiet. An origin is
  the client's address as the edge saw it (IPv6 by its /64), a session whose person is asked again, or a
  device that has shown the mark of an earlier log-in (devices.py).
- **Of one account, by all addresses without a mark.** Whoever guesses from ten thousand addresses has nine
  free tries at each. So fifty are free of all of them together; after that each doubles the wait, from five
  seconds to two minutes. That makes 720 tries a day at one account, wherever they come from: a million common
  passwords take nearly four years, three words of a list of 7,776 two million.

- **Of one account's second factor, by all who have its password.** Ten wrong codes are judged; after that
  each doubles the wait, from five seconds to a quarter of an hour. That makes 96 a day, of which one is right
  by chance in nine years. Neither other addresses nor a new password give more: a right code alone forgets
  it, or a day of quiet.

The second wait is what strangers could shut an owner out with, and the third who has stolen the password. So
they do not count for a device with a mark nor for a session: each has counters of its own, which no stranger
reaches. A mark or a session gives nobody more codes who has not shown one: with a second factor that is
turned on those from before end, and a log-in gets a new one by a right code alone. The second wait is short,
for who comes with a new device. Who
comes with a new device from a new address while strangers try without a pause competes with them for one try
each two minutes; once they stop, it is two minutes until the right password lets in. A password that is set
by the token of a mail forgets the account's counter at once.

A try is counted before the password is judged, so that parallel guesses are all counted, and one that waits
is not counted: who knocks again and again does not wait longer. A log-in whose second factor is missing or
wrong stays counted. Whoever shows the password alone, to repeat a request or to change it, has their own try
taken back and no other one: they may still be guessing the second factor.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import redis.asyncio
import redis.exceptions
import structlog

from services.user.accounts.emails import CanonicalEmail
from services.user.audit.failed_log_ins import FailedLogIns
from services.user.sessions.domain import LoginThrottled


@dataclass(frozen=True)
class _Rule:
    """So many tries are free; each one after that doubles the wait, from the first up to the longest."""

    free: int
    longest_seconds: int


# More than the repetitions of one request that are under way at once.
_OF_ORIGIN = _Rule(free=9, longest_seconds=15 * 60)
_OF_ACCOUNT = _Rule(free=50, longest_seconds=2 * 60)
_OF_CODES = _Rule(free=9, longest_seconds=15 * 60)
_FIRST_SECONDS = 5
# Longer than any wait.
_FORGOTTEN_SECONDS = 60 * 60
# Who waits until it is forgotten gets ten codes judged then: fewer than who goes on.
_CODES_FORGOTTEN_SECONDS = 24 * 60 * 60
# Fewer than the client's connections: out of those it fails, and a flood would go by uncounted.
_PLACES = 32

# Counts in all keys, or in none where one of them has to wait: its answer is how many milliseconds. By the
# clock of Valkey, which all processes share.
_COUNT = """
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local wait = 0
for _, key in ipairs(KEYS) do
    local open = tonumber(redis.call('HGET', key, 'open') or 0)
    wait = math.max(wait, open - now)
end
if wait > 0 then return wait end
for place, key in ipairs(KEYS) do
    local over = redis.call('HINCRBY', key, 'count', 1) - tonumber(ARGV[2 * place + 1])
    if over > 0 then
        local seconds = math.min(ARGV[2] * 2 ^ math.min(over - 1, 30), tonumber(ARGV[2 * place + 2]))
        redis.call('HSET', key, 'open', now + seconds * 1000)
    end
    redis.call('EXPIRE', key, ARGV[1])
end
return 0
"""
_TAKE_BACK = """
for _, key in ipairs(KEYS) do
    if redis.call('HINCRBY', key, 'count', -1) <= 0 then
        redis.call('DEL', key)
    else
        redis.call('HDEL', key, 'open')
        redis.call('EXPIRE', key, ARGV[1])
    end
end
return 0
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where a password comes from."""

    name: str
    # No stranger can come from there.
    is_known: bool

    @classmethod
    def of_address(cls, source: str) -> "Origin":
        """Return a client's address, as the edge saw it."""
        return cls(f"address {source}", is_known=False)

    @classmethod
    def of_device(cls, mark: str) -> "Origin":
        """Return a device that has logged in before; `mark` was checked."""
        return cls(f"device {mark}", is_known=True)

    @classmethod
    def of_session(cls, session_id: UUID | None) -> "Origin":
        """Return a session whose person is asked again."""
        return cls(f"session {session_id}", is_known=True)


class LoginThrottle:
    """Refuses log-ins that failed too often, whether the account exists or not.

    When Valkey is lost, log-ins go on unthrottled: the hashing's own bound and the edge's rate limit remain.
    Counters of invented addresses end by themselves. Should they fill Valkey before that, it must make room
    (allkeys-lru) rather than refuse writes: refused, no failure of anybody would be counted any more. A call
    that its caller gives up stays counted: else guesses would be free for who does not wait.
    """

    def __init__(self, redis_client: redis.asyncio.Redis, failed: FailedLogIns) -> None:
        # Those of accounts that exist, for the audit log.
        self.failed = failed
        self._redis = redis_client
        self._count = redis_client.register_script(_COUNT)
        self._take_back = redis_client.register_script(_TAKE_BACK)
        self._places = asyncio.Semaphore(_PLACES)

    async def count_failure(self, email: CanonicalEmail, origin: Origin) -> None:
        """Count a failure before the password is judged.

        Raises:
            LoginThrottled: too many failed; says when to come back.
        """
        rules = (_OF_ORIGIN,) if origin.is_known else (_OF_ORIGIN, _OF_ACCOUNT)
        await self._counted(_keys(email, origin), rules, _FORGOTTEN_SECONDS)

    async def count_code(self, user_id: UUID, origin: Origin) -> None:
        """Count a wrong code of an account's second factor before it is judged.

        Raises:
            LoginThrottled: too many were wrong; says when to come back.
        """
        await self._counted([_key_of_codes(user_id, origin)], (_OF_CODES,), _CODES_FORGOTTEN_SECONDS)

    async def _counted(self, keys: Sequence[str], rules: Sequence[_Rule], forgotten_seconds: int) -> None:
        limits = [limit for rule in rules for limit in (rule.free, rule.longest_seconds)]
        try:
            async with self._places:
                wait = await self._count(keys=keys, args=[forgotten_seconds, _FIRST_SECONDS, *limits])
        except redis.exceptions.RedisError as error:
            _log_loss(error)
            return
        if wait > 0:
            text = "too many failed log-ins: try again later"
            raise LoginThrottled(text, retry_after_seconds=wait / 1000)

    async def take_back_failure(self, email: CanonicalEmail, origin: Origin) -> None:
        """Take back one count: the password was not judged, or was right and all that was to be shown."""
        try:
            async with self._places:
                await self._take_back(keys=_keys(email, origin), args=[_FORGOTTEN_SECONDS])
        except redis.exceptions.RedisError as error:
            _log_loss(error)

    async def forget_failures(
        self, email: CanonicalEmail, origin: Origin, codes_of: UUID | None = None
    ) -> None:
        """Forget what was counted of an origin, and of the account where it is counted there: it came in.

        Args:
            email: The account's.
            origin: Where it came in from.
            codes_of: The account, where all that it asks for was shown: wrong codes are forgotten too that
                were counted with this one.
        """
        keys = [*_keys(email, origin), *([_key_of_codes(codes_of, origin)] if codes_of else [])]
        try:
            async with self._places:
                await self._redis.delete(*keys)
        except redis.exceptions.RedisError as error:
            _log_loss(error)


def _keys(email: CanonicalEmail, origin: Origin) -> list[str]:
    # Hashed: no personal data in a store that is not erased with the account.
    account = hashlib.sha256(email.encode()).hexdigest()
    of_origin = hashlib.sha256(f"{email}\0{origin.name}".encode()).hexdigest()
    keys = [f"login_failures:{of_origin}"]
    return keys if origin.is_known else [*keys, f"login_failures_of_all:{account}"]


def _key_of_codes(user_id: UUID, origin: Origin) -> str:
    key = f"second_factor_failures:{user_id}"
    return f"{key}:{hashlib.sha256(origin.name.encode()).hexdigest()}" if origin.is_known else key


def _log_loss(error: redis.exceptions.RedisError) -> None:
    log.warning("log-ins are not throttled", cause=type(error).__name__)
