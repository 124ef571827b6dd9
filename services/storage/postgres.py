"""PostgreSQL: pool, transactions, names of violated constraints. Migrations live in schema.py."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeAlias

import asyncpg
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type
from tenacity.stop import stop_after_delay
from tenacity.wait import wait_random_exponential

from services.errors import (
    DeadlineExceeded,
    InvalidArgument,
    ServiceError,
    ServiceUnavailable,
    VersionConflict,
)
from services.settings import DatabaseSettings, read_secret

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)

log = structlog.get_logger(__name__)

# Backstops for a process that died or hangs; live calls are bounded by their deadline, which is shorter.
STATEMENT_TIMEOUT_SECONDS = 15
IDLE_IN_TRANSACTION_TIMEOUT_SECONDS = 10
# A call that waits longer than this for a connection is one of too many.
ACQUIRE_TIMEOUT_SECONDS = 2.0
CONNECT_TIMEOUT_SECONDS = 5.0
# The database starts beside us, or fails over.
START_PATIENCE_SECONDS = 30.0

# The server is not there, or not yet, or no longer.
CONNECT_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)

# The server went away, or cannot take more, in the middle of something.
_UNAVAILABLE: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    # Its answer on a connection that the server is ending at this moment.
    asyncpg.InternalClientError,
    ConnectionError,
)
# Text that no column can hold, such as U+0000.
_UNSTORABLE = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)

# `kill -9` cannot reveal that these are off; losing power would.
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")
# Settings by which PostgreSQL's own log holds what people sent, each with the values that keep it out: errors
# quote rows and values, logged statements their parameters, and logged plans both.
_SILENT = {
    "log_min_messages": ("log", "fatal", "panic"),
    "log_parameter_max_length": ("0",),
    "auto_explain.log_min_duration": ("-1",),
}

_commit_callbacks: ContextVar[set[Callable[[], None]] | None] = ContextVar("commit_callbacks", default=None)


class NotDurable(Exception):
    """The server would lose what it acknowledged."""


async def open_pool(settings: DatabaseSettings) -> Pool:
    """Connect, waiting up to 30 seconds for the server; jsonb columns read and write Python values.

    Warns where the server's own log would hold what people sent.

    Raises:
        NotDurable: the server runs without fsync, full_page_writes or synchronous_commit.
    """
    async for attempt in _patiently():
        with attempt:
            pool = await asyncpg.create_pool(
                **_connect_options(settings),
                min_size=min(2, settings.pool_size),
                max_size=settings.pool_size,
                init=_prepare,
                reset=_keep_session,
            )
    try:
        async with pool.acquire() as conn:
            await _assert_durable(conn)
            await _warn_of_telling_log(conn)
    except BaseException:
        pool.terminate()
        raise
    return pool


async def open_replica_pool(settings: DatabaseSettings) -> Pool:
    """Return a pool that connects at its use, so that nobody waits for a replica, and keeps connections."""
    return await asyncpg.create_pool(
        **_connect_options(settings),
        min_size=0,
        max_size=settings.pool_size,
        max_inactive_connection_lifetime=0,
        init=_prepare,
        reset=_keep_session,
    )


async def connect(settings: DatabaseSettings) -> "asyncpg.Connection[asyncpg.Record]":
    """Open one connection of its own, beside the pool; for LISTEN and for loops."""
    conn: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(**_connect_options(settings))
    try:
        await _prepare(conn)
    except BaseException:
        conn.terminate()
        raise
    return conn


@asynccontextmanager
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    """Borrow a connection for reads; every statement is a transaction of its own.

    Raises:
        ServiceUnavailable: none came free in time.
    """
    borrowed = pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS)
    try:
        conn = await borrowed.__aenter__()
    except CONNECT_ERRORS as error:
        raise ServiceUnavailable("the database cannot be reached") from error
    try:
        yield conn
    finally:
        await borrowed.__aexit__(None, None, None)


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Run one READ COMMITTED transaction: commit at the end, roll back on any exception or cancellation.

    Raises:
        ServiceUnavailable: no connection came free in time.
    """
    callbacks: set[Callable[[], None]] = set()
    async with connection(pool) as conn, conn.transaction():
        token = _commit_callbacks.set(callbacks)
        try:
            yield conn
        finally:
            _commit_callbacks.reset(token)
    for callback in callbacks:
        callback()


@asynccontextmanager
async def snapshot(settings: DatabaseSettings) -> AsyncIterator[Connection]:
    """Read what was there at the first statement, however many follow; nothing can be written.

    It has a connection of its own: it lasts as long as a slow reader takes, and calls wait for the pool's.

    Raises:
        ServiceUnavailable: the database cannot be reached, or has no connection left.
    """
    try:
        conn = await connect(settings)
    except CONNECT_ERRORS as error:
        raise ServiceUnavailable("the database cannot be reached") from error
    try:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            yield conn
    finally:
        # Without waiting: who was cancelled may be cancelled again.
        conn.terminate()


def after_commit(callback: Callable[[], None]) -> None:
    """Call once, after the surrounding `transaction` has committed.

    Outside of one: now, because there each statement commits by itself.
    """
    callbacks = _commit_callbacks.get()
    if callbacks is None:
        callback()
    else:
        callbacks.add(callback)


def constraint_name(error: asyncpg.PostgresError) -> str:
    """Return the name of the violated constraint, or "". Stores turn it into an error of their domain."""
    return getattr(error, "constraint_name", None) or ""


def database_failure(error: BaseException) -> ServiceError | None:
    """Return what a failure of the database means to the caller; None if it is not one of those.

    Violated constraints are not among them: stores translate those, the rest are bugs.
    """
    if isinstance(error, asyncpg.QueryCanceledError):
        return DeadlineExceeded("the deadline passed")
    if isinstance(error, _UNAVAILABLE) or _says_closed(error):
        return ServiceUnavailable("the database cannot be reached")
    if isinstance(error, asyncpg.TransactionRollbackError):
        return VersionConflict("it was changed at the same moment; repeat the request")
    if isinstance(error, _UNSTORABLE):
        return InvalidArgument("a text holds a character that cannot be stored")
    return None


def _says_closed(error: BaseException) -> bool:
    # asyncpg has one class for a lost connection and for wrong use.
    return isinstance(error, asyncpg.InterfaceError) and "closed" in str(error)


def _connect_options(settings: DatabaseSettings) -> dict[str, Any]:
    return {
        "dsn": settings.url,
        # Read again for each connection, so that a rotated password is seen.
        "password": partial(read_secret, settings.password_file),
        "timeout": CONNECT_TIMEOUT_SECONDS,
        "server_settings": {
            "application_name": "commerce",
            "timezone": "UTC",
            "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
            "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_SECONDS}s",
        },
    }


async def _prepare(conn: Connection) -> None:
    await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


async def _keep_session(_: Connection) -> None:
    """Save a round trip a call: nobody changes the session, and asyncpg has rolled back by now."""


async def _assert_durable(conn: Connection) -> None:
    for name in _DURABLE:
        if await conn.fetchval("SELECT current_setting($1)", name) == "off":
            raise NotDurable(
                f"PostgreSQL runs with {name} = off: it would lose acknowledged orders. Turn it on."
            )


async def _warn_of_telling_log(conn: Connection) -> None:
    """Say what to set; a role that owns no server cannot set it (they are for superusers)."""
    for name, silent in _SILENT.items():
        value = await conn.fetchval("SELECT current_setting($1, TRUE)", name)
        # None and "": the module is not loaded.
        if value and value not in silent:
            log.warning(
                "PostgreSQL's own log will hold what people sent",
                setting=name,
                value=value,
                remedy=f"as superuser: ALTER ROLE {await conn.fetchval('SELECT current_user')} "
                f"SET {name} = '{silent[0]}'",
            )


def _patiently() -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(CONNECT_ERRORS),
        wait=wait_random_exponential(multiplier=0.1, max=2),
        stop=stop_after_delay(START_PATIENCE_SECONDS),
        reraise=True,
    )
