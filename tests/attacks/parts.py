"""All servicers on real databases, called without a server, and what must be true of the databases then."""

from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from commerce.product.v1 import inventory_pb2
from google.protobuf.message import Message

from services.errors import ServiceError
from services.order.orders.finishing import Finishing
from services.order.orders.servicer import OrderServicer
from services.order.pipeline.servicer import PipelineServicer
from services.product.catalogue.servicer import ProductServicer
from services.product.categories.servicer import CategoryServicer
from services.product.inventory.books_store import verify_stock
from services.product.inventory.servicer import InventoryServicer
from services.product.suppliers.servicer import MatchServicer
from services.rpc.identity import Caller, TokenVerifier, set_caller
from services.settings import RedisSettings
from services.storage.cache import open_redis
from services.storage.events import EventLog
from services.storage.near_cache import NearCache
from services.storage.postgres import Pool, connection
from services.storage.replica import Reads
from services.user.accounts.passwords import Passwords
from services.user.accounts.servicer import UserServicer
from services.user.audit.failed_log_ins import FailedLogIns
from services.user.oauth.servicer import OAuthServicer
from services.user.privacy.erasing import Erasing
from services.user.privacy.rotation import Rotation
from services.user.privacy.servicer import PrivacyServicer
from services.user.recovery.servicer import RecoveryServicer
from services.user.second_factor.check import SecondFactors
from services.user.second_factor.sealing import ShopSealer
from services.user.second_factor.servicer import SecondFactorServicer
from services.user.sessions.authentication import Authentication
from services.user.sessions.devices import DeviceMarks
from services.user.sessions.endings import Ended
from services.user.sessions.origins import Origins
from services.user.sessions.servicer import AuthServicer
from services.user.sessions.throttle import LoginThrottle
from services.user.sessions.tokens import TokenSigner
from tests.conftest import DatabaseHandle
from tests.order.conftest import PAGES, Mesh, now
from tests.support.calls import descriptor
from tests.support.tokens import AUDIENCE, ISSUER
from tests.support.vaults import VAULT
from tests.support.world import (
    AUTH,
    CATEGORIES,
    INVENTORY,
    MATCHES,
    OAUTH,
    ORDERS,
    PIPELINE,
    PRIVACY,
    PRODUCTS,
    RECOVERY,
    SECOND_FACTOR,
    USERS,
)
from tests.user.conftest import LOGIN_KEYS, MAIL_TOKENS


@dataclass(frozen=True)
class Attempt:
    """One call, on things that were made for it alone."""

    # A list for a method that takes a stream.
    request: Message | list[Any]
    caller: Caller
    # What a repetition may be told where the first attempt had its effect.
    reasons_of_a_repetition: frozenset[str] = frozenset()
    # Whether a repetition gets the very same answer.
    answers_alike: bool = True


@dataclass
class Parts:
    """The servicers of all services on real databases, called without a server: each await is seen."""

    mesh: Mesh
    users: Pool
    throttle: LoginThrottle
    finishing: Finishing
    servicers: dict[str, Any]
    # People whose orders' holds are judged.
    buyers: set[UUID] = field(default_factory=set)
    # Where this test's orders begin.
    since: Any = field(default_factory=now)

    @property
    def pools(self) -> Sequence[Pool]:
        return self.mesh.pool, self.mesh.stock_pool, self.users

    def call(self, method: str, attempt: Attempt) -> Coroutine[Any, Any, Any]:
        """Call a method as the chain would."""
        service, _, name = method.removeprefix("/").partition("/")
        handler = getattr(self.servicers[service], name)
        request: Any = attempt.request
        if descriptor(method).client_streaming:
            request = _stream(attempt.request)

        async def run() -> Any:
            set_caller(attempt.caller)
            return await handler(request, None)

        return run()

    async def outcome(self, method: str, attempt: Attempt) -> tuple[str, bytes]:
        """Call a method to its end: the reason of a refusal, or what was answered."""
        try:
            answer = await self.call(method, attempt)
        except ServiceError as refusal:
            return refusal.reason, b""
        # Each repetition prolongs a hold.
        if isinstance(answer, inventory_pb2.Reservation):
            answer.ClearField("expire_time")
        for result in getattr(answer, "results", ()):
            result.reservation.ClearField("expire_time")
        return "", answer.SerializeToString(deterministic=True)

    def is_idle(self) -> bool:
        """Tell whether every connection is back in its pool."""
        return all(pool.get_idle_size() == pool.get_size() for pool in self.pools)

    async def open_transactions(self) -> int:
        """Count connections that have a transaction open and do nothing, in the three databases."""
        count: int = await self.users.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        )
        return count

    async def faults(self) -> list[str]:
        """Say what is wrong with the books; nothing should be."""
        found = [f"a gap in {stream}" for pool in self.pools for stream in await _gaps(pool)]
        found += [f"order {each} without its task or events" for each in await self._torn_orders()]
        found += [f"order {each} does not match its hold" for each in await self._lost_holds()]
        async with connection(self.mesh.stock_pool) as conn:
            verdict = await verify_stock(conn)
        found += [f"stock of {each}" for each in (*verdict.divergent, *verdict.unclaimed)]
        return found

    async def _torn_orders(self) -> list[UUID]:
        rows = await self.mesh.pool.fetch(
            """
            SELECT o.order_id
              FROM orders o
              LEFT JOIN order_tasks t USING (order_id)
             WHERE o.create_time >= $1
               AND ((o.state IN ('PENDING', 'CANCELLING')) <> (t.order_id IS NOT NULL)
                    OR o.version <> (SELECT count(*) FROM events e WHERE e.stream = 'order/' || o.order_id))
            UNION ALL
            SELECT substr(e.stream, 7)::uuid
              FROM events e
             WHERE e.stream LIKE 'order/%'
               AND NOT EXISTS (SELECT FROM orders o WHERE e.stream = 'order/' || o.order_id)
            """,
            self.since,
        )
        return [row["order_id"] for row in rows]

    async def _lost_holds(self) -> set[UUID]:
        """Holds without an order, and pending orders without a hold."""
        held = await self.mesh.stock_pool.fetch(
            "SELECT order_id FROM reservations WHERE state = 'HELD' AND holder_id = ANY ($1)", self.buyers
        )
        pending = await self.mesh.pool.fetch(
            "SELECT order_id FROM orders WHERE state IN ('PENDING', 'CANCELLING') AND user_id = ANY ($1)",
            self.buyers,
        )
        return {row["order_id"] for row in held} ^ {row["order_id"] for row in pending}


async def open_parts(
    mesh: Mesh, users: DatabaseHandle, signer: TokenSigner, valkey: RedisSettings, at_end: AsyncExitStack
) -> Parts:
    """Put the servicers together; the product service also runs behind a real channel, for orders."""
    pool, redis, passwords = await users.pool(), open_redis(valkey), Passwords("Commerce Mesh")
    for close in (pool.close, redis.aclose, passwords.close):
        at_end.push_async_callback(close)
    throttle, finishing = LoginThrottle(redis, FailedLogIns(now)), Finishing(limit_seconds=10.0)
    erasing = Erasing(pool, VAULT, timedelta(days=30), now)
    origins = Origins(pool, VAULT, DeviceMarks(LOGIN_KEYS), now)
    rotation = Rotation(pool, VAULT, ShopSealer(LOGIN_KEYS))
    factors = SecondFactors(VAULT, ShopSealer(LOGIN_KEYS), throttle.failed)
    shared: Any = {"vault": VAULT, "passwords": passwords, "throttle": throttle, "clock": now}
    servicers: dict[str, Any] = {
        ORDERS: OrderServicer(
            pool=mesh.pool,
            pages=PAGES,
            stock=mesh.holds,
            pipeline=mesh.pipeline,
            finishing=finishing,
            clock=now,
        ),
        PIPELINE: PipelineServicer(mesh.pool, PAGES, mesh.pipeline),
        PRODUCTS: ProductServicer(
            mesh.stock_pool,
            PAGES,
            cache=NearCache(),
            reads=Reads(mesh.stock_pool),
            watching=mesh.watching,
            database=mesh.stock_settings,
        ),
        CATEGORIES: CategoryServicer(mesh.stock_pool, PAGES),
        INVENTORY: InventoryServicer(mesh.stock_pool, PAGES, mesh.watching),
        MATCHES: MatchServicer(mesh.stock_pool, PAGES),
        USERS: UserServicer(pool, PAGES, erasing=erasing, **shared),
        AUTH: AuthServicer(
            pool,
            PAGES,
            signer=signer,
            ended=Ended(pool, EventLog(pool, "user", users.settings)),
            factors=factors,
            origins=origins,
            **shared,
        ),
        SECOND_FACTOR: SecondFactorServicer(
            pool, vault=VAULT, factors=factors, throttle=throttle, shop="Commerce Mesh", clock=now
        ),
        PRIVACY: PrivacyServicer(pool, PAGES, vault=VAULT, erasing=erasing, rotation=rotation, clock=now),
        RECOVERY: RecoveryServicer(pool, tokens=MAIL_TOKENS, **shared),
    }
    servicers[OAUTH] = OAuthServicer(
        pool,
        authentication=Authentication(pool, passwords, throttle, VAULT),
        factors=factors,
        origins=origins,
        vault=VAULT,
        signer=signer,
        verifier=TokenVerifier(ISSUER, AUDIENCE, signer.verification_keys),
        issuer="https://shop.example",
        clock=now,
    )
    by_name = {path.strip("/"): servicer for path, servicer in servicers.items()}
    return Parts(mesh, pool, throttle, finishing, by_name)


async def _stream(messages: Any) -> AsyncIterator[Message]:
    for message in messages:
        yield message


async def _gaps(pool: Pool) -> list[str]:
    rows = await pool.fetch(
        "SELECT stream FROM events GROUP BY stream HAVING count(*) <> max(version) OR min(version) <> 1"
    )
    return [row["stream"] for row in rows]
