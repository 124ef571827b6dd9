"""The count of failed log-ins, on a real Valkey."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from services.process import utc_now
from services.settings import RedisSettings
from services.storage.cache import open_redis
from services.user.accounts.emails import CanonicalEmail, canonical_email
from services.user.audit.failed_log_ins import FailedLogIns
from services.user.sessions.domain import LoginThrottled
from services.user.sessions.throttle import LoginThrottle, Origin
from tests.support.waiting import PATIENCE_SECONDS
from tests.user.conftest import some_email

HERE = Origin.of_address("192.0.2.1")
# What the documents promise to an owner whom strangers try to shut out.
LONGEST_SECONDS = 120.0
FREE = 9


def some_canonical_email() -> CanonicalEmail:
    return canonical_email(some_email())


@pytest.fixture
async def redis(valkey: RedisSettings) -> AsyncIterator[Redis]:
    client = open_redis(valkey)
    # However slow the machine: what is judged here is the count, not that a slow Valkey is done without.
    client.connection_pool.connection_kwargs["socket_timeout"] = PATIENCE_SECONDS
    yield client
    await client.aclose()


async def wait_of(throttle: LoginThrottle, email: CanonicalEmail, origin: Origin) -> float:
    """Try once; how long to wait instead, or 0 where it was judged."""
    try:
        await throttle.count_failure(email, origin)
    except LoginThrottled as error:
        return error.retry_after_seconds or 0.0
    return 0.0


async def reopen(redis: Redis) -> None:
    """Let every wait be over."""
    for key in await redis.keys("login_failures*"):
        await redis.hdel(key, "open")


async def test_of_a_flood_no_more_is_judged_than_is_free(redis: Redis) -> None:
    throttle, email = LoginThrottle(redis, FailedLogIns(utc_now)), some_canonical_email()
    waits = await asyncio.gather(*(wait_of(throttle, email, HERE) for _ in range(500)))
    # Nine are free, and the tenth begins the first wait.
    assert waits.count(0.0) == 10
    assert max(waits) <= 5.0


async def test_each_failure_doubles_the_wait_up_to_a_quarter_of_an_hour(redis: Redis) -> None:
    throttle, email, waits = LoginThrottle(redis, FailedLogIns(utc_now)), some_canonical_email(), []
    for count in range(1, 21):
        await reopen(redis)
        assert await wait_of(throttle, email, HERE) == 0.0
        if count > FREE:
            waits.append(math.ceil(await wait_of(throttle, email, HERE)))
    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-1] == 15 * 60


async def test_who_knocks_while_they_wait_does_not_wait_longer(redis: Redis) -> None:
    throttle, email = LoginThrottle(redis, FailedLogIns(utc_now)), some_canonical_email()
    waits = [await wait_of(throttle, email, HERE) for _ in range(60)]
    assert max(waits) <= 5.0


async def test_ten_thousand_strangers_shut_no_owner_out(redis: Redis) -> None:
    throttle, email = LoginThrottle(redis, FailedLogIns(utc_now)), some_canonical_email()
    strangers = [Origin.of_address(f"10.0.{n // 250}.{n % 250}") for n in range(10_000)]
    judged, begun = 0, time.monotonic()
    for at in range(0, len(strangers), 500):
        # However long they take for it.
        await reopen(redis)
        waits = await asyncio.gather(*(wait_of(throttle, email, each) for each in strangers[at : at + 500]))
        judged += waits.count(0.0)
    # Fifty were free, and one in each wait after that, however slow the machine: those that were cut short
    # here, and the shortest ones.
    assert 50 <= judged <= 50 + 20 + 1 + (time.monotonic() - begun) / 5
    for known in (Origin.of_device("of an earlier log-in"), Origin.of_session(uuid4())):
        assert await wait_of(throttle, email, known) == 0.0
    # With a new device, from a new address: so long after the last of them, at most.
    waited = await wait_of(throttle, email, HERE)
    assert 0.0 < waited <= LONGEST_SECONDS
    await reopen(redis)
    assert await wait_of(throttle, email, HERE) == 0.0
    assert await wait_of(throttle, some_canonical_email(), strangers[0]) == 0.0, "nobody else's account"


async def test_what_was_not_judged_is_taken_back(redis: Redis) -> None:
    throttle, email = LoginThrottle(redis, FailedLogIns(utc_now)), some_canonical_email()
    for _ in range(80):
        await throttle.count_failure(email, HERE)
        await throttle.take_back_failure(email, HERE)
    await throttle.count_failure(email, HERE)


async def test_a_log_in_forgets_what_was_counted_of_its_origin(redis: Redis) -> None:
    throttle, email = LoginThrottle(redis, FailedLogIns(utc_now)), some_canonical_email()
    while await wait_of(throttle, email, HERE) == 0.0:
        pass
    await throttle.forget_failures(email, HERE)
    assert await wait_of(throttle, email, HERE) == 0.0


async def test_counts_end_by_themselves(redis: Redis) -> None:
    before = set(await redis.keys())
    await LoginThrottle(redis, FailedLogIns(utc_now)).count_failure(some_canonical_email(), HERE)
    keys = set(await redis.keys()) - before
    assert len(keys) == 2
    for key in keys:
        assert 0 < await redis.ttl(key) <= 3600


async def test_valkey_learns_no_email_and_no_address(redis: Redis) -> None:
    email = some_canonical_email()
    await LoginThrottle(redis, FailedLogIns(utc_now)).count_failure(email, HERE)
    assert not [key for key in await redis.keys("*") if email.encode() in key or b"192.0.2" in key]
