"""Valkey or Redis. What it holds may be lost at any moment: losing it costs time, never answers."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from services.settings import RedisSettings, read_secret

# A cache that is slower than the database is of no use.
TIMEOUT_SECONDS = 0.25
CONNECT_TIMEOUT_SECONDS = 1.0
MAX_CONNECTIONS = 50


class _PasswordFile(CredentialProvider):
    """Reads the password for each new connection, so that a rotated one is seen."""

    def __init__(self, settings: RedisSettings) -> None:
        self._path = settings.password_file

    def get_credentials(self) -> tuple[str]:
        return (read_secret(self._path),)

    async def get_credentials_async(self) -> tuple[str]:
        # Of the asynchronous client; redis logs a warning at each connection that falls back to the other.
        return self.get_credentials()


def open_redis(settings: RedisSettings) -> Redis:
    """Return a client that connects at its first use and fails fast; close it with `aclose()`."""
    client: Redis = Redis.from_url(
        settings.url,
        credential_provider=_PasswordFile(settings),
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        max_connections=MAX_CONNECTIONS,
        retry=Retry(NoBackoff(), retries=0),
        health_check_interval=30,
    )
    return client
