"""What the queries of an address may cost in a second: as much as the contract lets it call over REST.

A field costs thousandths of a second of its method's limit, so 1,000 a second are that limit, whichever
methods a query spends them on.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.app.graphql.cost import MOST_COST
from gateway.app.graphql.refusals import TooManyQueries, TooMuchToDo
from services.networks import network_of

# Each takes 300 bytes. Whoever is forgotten for others begins anew, as at the edge (gateway/edge/limits.py).
MOST_ADDRESSES = 10_000
# Queries at once: of the calls that the app takes (gateway/app/server.py) the others are left to log-ins.
MOST_QUERIES = 100
# An address that sends ten a second has so many only where they take long.
MOST_OF_ADDRESS = 20


class Places:
    """Places for the queries that are answered at once, in all and of each address."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    @contextmanager
    def take(self, address: str) -> Iterator[None]:
        """Hold a place for the life of a block.

        Raises:
            TooMuchToDo: there is none.
        """
        caller = network_of(address)
        if self._taken[caller] >= MOST_OF_ADDRESS or self._taken.total() >= MOST_QUERIES:
            raise TooMuchToDo
        self._taken[caller] += 1
        try:
            yield
        finally:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]


class Budgets:
    """A bucket for each address: it holds what a query may cost, and fills in a second.

    Args:
        scale: How many times as much a place lets its callers do as the contract says.
        clock: Seconds that only grow.
    """

    def __init__(self, scale: float, clock: Callable[[], float]) -> None:
        # A query that may be asked at all must fit in.
        self._most = max(MOST_COST * scale, MOST_COST)
        self._a_second = MOST_COST * scale
        self._clock = clock
        # What is left, and when that was so; those who asked last stand at the end.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, address: str, cost: float) -> None:
        """Take what a query costs from its address's bucket.

        Raises:
            TooManyQueries: there is not as much in it.
        """
        caller, now = network_of(address), self._clock()
        left, at = self._left.pop(caller, (self._most, now))
        left = min(self._most, left + (now - at) * self._a_second)
        is_enough = cost <= left
        self._left[caller] = (left - cost if is_enough else left, now)
        if len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)
        if not is_enough:
            raise TooManyQueries((cost - left) / self._a_second)
