"""What a search asks and what answers it, whichever engine does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import UUID

from services.product.catalogue.domain import SearchTooSlow
from services.product.search.store import FacetCount, Filters, Found, Place

# Over a hundred times what a search needs on a quiet machine.
_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class Asked:
    """One search, or one page of it."""

    # As it was typed.
    query: str
    filters: Filters = field(default_factory=Filters)
    # With all below it; None: anywhere.
    category_id: UUID | None = None
    # A key of the contract's `order_by`; empty: the best first.
    order_by: str = ""
    # The last hit of the page before.
    after: Place | None = None
    # How many hits to return.
    limit: int = 1
    # Which to count: "brand", "category_id", "in_stock" or "attributes.NAME".
    facets: Sequence[str] = ()
    # Its last word may be the begin of one, and names are all that is wanted.
    is_typing: bool = False

    @property
    def weights(self) -> list[float] | None:
        """Of the words on the page before: counts may have changed since. None: there is none."""
        return [float(weight) for weight in self.after.weights.split()] if self.after else None


@dataclass(frozen=True)
class Answer:
    """What was found."""

    hits: list[Found]
    facets: list[FacetCount]
    # Up to MAX_CANDIDATES.
    total: int


def keeping(hits: Sequence[Found], weights: Sequence[float]) -> list[Found]:
    """Return hits whose places keep the weights of the words for the pages that follow."""
    told = " ".join(str(weight) for weight in weights)
    return [replace(hit, place=hit.place._replace(weights=told)) for hit in hits]


class Engine(Protocol):
    """Finds products. What it returns of them is read from the database now."""

    async def answer(self, asked: Asked) -> Answer | None:
        """Answer a search; None: it cannot now, and another engine has to."""


@asynccontextmanager
async def ending_in_time() -> AsyncIterator[None]:
    """End what takes too long: asyncpg has its statement cancelled.

    Raises:
        SearchTooSlow: it did.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            yield
    except TimeoutError:
        raise SearchTooSlow("the search takes too long; ask for rarer words") from None
