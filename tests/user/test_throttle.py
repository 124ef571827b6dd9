"""The count of failed log-ins, on a real Valkey."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from services.process import utc_now
from services.settings import RedisSettings
from services.storage.cache import open_redis
from services.user.accounts.emails import CanonicalEmail, canonical_email
from services.user.audit.failed_log_ins import FailedLogIns
from services.user.sessions.domain import LoginThrottled
from services.user.sessions.throttle import LoginThrottle
from tests.support.waiting import PATIENCE_SECONDS
from tests.user.conftest import some_email


def some_canonical_email() -> CanonicalEmail:
    return canonical_email(some_email())


@pytest.fixture
async def redis(valkey: RedisSettings) -> AsyncIterator[Redis]:
    client = open_redis(valkey)
    # However slow the machine: what is judged here is the count, not that a slow Valkey is done without.
    client.connection_pool.connection_kwargs["socket_timeout"] = PATIENCE_SECONDS
    yield client
    await client.aclose()


async def test_every_one_of_a_flood_is_counted(redis: Redis) -> None:
    throttle, email = LoginThrottle(redis, FailedLogIns(utc_now)), some_canonical_email()
    outcomes = await asyncio.gather(
        *(throttle.count_failure(email) for _ in range(500)), return_exceptions=True
    )
    assert outcomes.count(None) == 10
    assert sum(isinstance(each, LoginThrottled) for each in outcomes) == 490


async def test_what_was_not_judged_is_taken_back(redis: Redis) -> None:
    throttle, email = LoginThrottle(redis, FailedLogIns(utc_now)), some_canonical_email()
    for _ in range(30):
        await throttle.count_failure(email)
        await throttle.take_back_failure(email)
    await throttle.count_failure(email)


async def test_the_window_opens_with_the_first_failure_and_later_ones_do_not_prolong_it(redis: Redis) -> None:
    throttle, email = LoginThrottle(redis, FailedLogIns(utc_now)), some_canonical_email()
    before = set(await redis.keys())
    await throttle.count_failure(email)
    (key,) = set(await redis.keys()) - before
    await redis.expire(key, 100)
    await throttle.count_failure(email)
    assert await redis.get(key) == b"2"
    assert await redis.ttl(key) <= 100


async def test_valkey_learns_no_email(redis: Redis) -> None:
    email = some_canonical_email()
    await LoginThrottle(redis, FailedLogIns(utc_now)).count_failure(email)
    assert not [key for key in await redis.keys("*") if email.encode() in key]
