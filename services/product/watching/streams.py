"""What who watches is told: the last state of each product, or of its stock, that has changed."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from services.errors import PositionUnknown, TokenExpired
from services.product.watching.hub import Hub, Watcher
from services.product.watching.store import list_changed
from services.product.watching.tokens import Place, ResumeTokens
from services.rpc.identity import caller
from services.storage.events import EventLog
from services.storage.postgres import Pool, connection

# Who waits for changes hears so often that there were none.
_HEARTBEAT_SECONDS = 10.0
# Changes that come closer together are told as one: each is a read for each who watches.
_PAUSE_SECONDS = 0.25
# Read at once: one product may have 64 kB.
_READ_AT_ONCE = 10

State = TypeVar("State")
# Reads the states of products; those that are not there for the caller are not among them.
Read = Callable[[Sequence[UUID]], Awaitable[dict[UUID, State]]]


@dataclass(frozen=True)
class Told(Generic[State]):
    """A message of a stream; without a product it says that nothing has changed."""

    resume_token: str
    previous_token: str
    product_id: UUID | None = None
    # None: it is not there any more.
    state: State | None = None


class Watching:
    """Streams of one process.

    Args:
        pool: The product database.
        event_log: Of this service.
        token_keys: As of pages.
    """

    def __init__(self, pool: Pool, event_log: EventLog, token_keys: Sequence[bytes]) -> None:
        self._pool = pool
        self._log = event_log
        self._hub = Hub(event_log)
        self._of_products = ResumeTokens(token_keys, "WatchProducts")
        self._of_stock = ResumeTokens(token_keys, "WatchStock")

    async def run(self) -> None:
        """Follow the log for all streams until cancelled."""
        await self._hub.run()

    async def products(
        self, product_ids: Iterable[str], resume_token: str, read: Read[State]
    ) -> AsyncGenerator[Told[State], None]:
        """Tell of products: as they are, or those that have changed since a token; then of changes.

        Raises:
            ResumeTokenInvalid: the token is not of a stream of these products.
            PositionUnknown: the log has been set back since.
            TokenExpired: the access token is past its time.
        """
        async with self._hub.watching(map(UUID, product_ids)) as watcher:
            stream = _Stream(watcher, self._of_products, resume_token, read)
            first = await self._changed_since(stream.place.position, watcher) if resume_token else None
            async with aclosing(stream.tell(first)) as told:
                async for each in told:
                    yield each

    async def stock(
        self, product_ids: Iterable[str], resume_token: str, read: Read[State]
    ) -> AsyncGenerator[Told[State], None]:
        """Tell of levels as they are, and then of changes; as `products` does."""
        async with self._hub.watching(map(UUID, product_ids), their_stock=True) as watcher:
            stream = _Stream(watcher, self._of_stock, resume_token, read)
            # The log has what moved a product's stock by the order that moved it: all are told again.
            await self._check_position(stream.place.position)
            async with aclosing(stream.tell()) as told:
                async for each in told:
                    yield each

    async def _changed_since(self, position: int, watcher: Watcher) -> list[UUID]:
        await self._check_position(position)
        async with connection(self._pool) as conn:
            return await list_changed(conn, sorted(watcher.product_ids), position)

    async def _check_position(self, position: int) -> None:
        if position > await self._log.head():
            raise PositionUnknown("the position of resume_token is past the head of the log: begin anew")


class _Stream(Generic[State]):
    """One stream: what its reader knows, and the token of the last message."""

    def __init__(self, watcher: Watcher, tokens: ResumeTokens, resume_token: str, read: Read[State]) -> None:
        self._watcher = watcher
        self._tokens = tokens
        self._read = read
        self._expires_at = caller().expires_at
        self._token = resume_token
        self.place = Place(0, frozenset())
        if resume_token:
            self.place = tokens.open(resume_token, watcher.product_ids)
        # As it is now: what is told to the watcher from here on has yet to be told to the reader.
        self._begins_at = max(watcher.position, self.place.position)

    async def tell(self, first: Sequence[UUID] | None = None) -> AsyncGenerator[Told[State], None]:
        """Tell of the `first`, or of all, then of changes; and again and again that there were none."""
        changed = sorted(self._watcher.product_ids) if first is None else list(first)
        position, due = self._begins_at, time.monotonic()
        while True:
            is_news = False
            # Past this position only with the last of them: who resumes after another is told of the rest.
            for start in range(0, len(changed), _READ_AT_ONCE):
                ids = changed[start : start + _READ_AT_ONCE]
                for told in self._differences(ids, await self._read(ids)):
                    is_news = True
                    yield told
            # Where all that changed is hidden, nothing comes before its time: an empty message would tell
            # that the hidden is there, and each time that it changes.
            if is_news or time.monotonic() >= due:
                yield self._move(Place(position, self.place.known))
                due = time.monotonic() + self._seconds()
            if changed:
                await asyncio.sleep(min(_PAUSE_SECONDS, max(0.0, due - time.monotonic())))
            changed, position = await self._watcher.changed(max(0.0, due - time.monotonic()))

    def _differences(self, ids: Iterable[UUID], found: dict[UUID, State]) -> Iterator[Told[State]]:
        for product_id in ids:
            state = found.get(product_id)
            known = self.place.known
            # Of what is not there for the caller, and was not, nothing is said.
            if state is not None or product_id in known:
                known = known - {product_id} if state is None else known | {product_id}
                yield self._move(Place(self.place.position, known), product_id, state)

    def _move(self, place: Place, product_id: UUID | None = None, state: State | None = None) -> Told[State]:
        previous = self._token
        self.place, self._token = place, self._tokens.seal(place, self._watcher.product_ids)
        return Told(self._token, previous, product_id, state)

    def _seconds(self) -> float:
        """Return how long to wait for changes."""
        if self._expires_at is None:
            return _HEARTBEAT_SECONDS
        left = self._expires_at - time.time()
        if left <= 0:
            raise TokenExpired("the access token has expired: refresh it, and resume the stream")
        return min(left, _HEARTBEAT_SECONDS)
