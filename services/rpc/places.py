"""Places for what runs at once, how many of them one caller may take, and the queue of a caller's own calls.

Who counts as one caller is services/rpc/identity.py's.
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from services.errors import Overloaded, TooManyCalls

# Calls that wait for their turn: each costs its message and a task. More than one caller begins while the
# machine stalls for a second, and too many for a few to fill.
_WAITING = 1_500
_WAITING_OF_ONE = 150
# By then most of what runs has ended.
_RETRY_SECONDS = 1.0


class Places:
    """A number of places, of which no caller gets more than its share, so that none can take them all.

    Args:
        total: How many there are.
        per_caller: How many of them one caller may have.
        part_of: The places of which these are a part: who takes one here takes one there too.
    """

    def __init__(self, total: int, per_caller: int, part_of: "Places | None" = None) -> None:
        self.total = total
        self.free = total
        self._per_caller = per_caller
        self._part_of = part_of
        self._taken: dict[Hashable, int] = {}

    def take(self, caller: Hashable) -> None:
        """Take a place.

        Raises:
            TooManyCalls: the caller has its share.
            Overloaded: nobody gets one now.
        """
        taken = self._taken.get(caller, 0)
        if taken >= self._per_caller:
            raise TooManyCalls("you have too many calls running at once", retry_after_seconds=_RETRY_SECONDS)
        if self.free <= 0:
            raise Overloaded("the service has too much to do", retry_after_seconds=_RETRY_SECONDS)
        if self._part_of is not None:
            self._part_of.take(caller)
        self.free -= 1
        self._taken[caller] = taken + 1

    def give_back(self, caller: Hashable) -> None:
        """Give one of the caller's places back."""
        if self._part_of is not None:
            self._part_of.give_back(caller)
        self.free += 1
        # A caller without a place is forgotten: there may be millions of addresses.
        if left := self._taken.pop(caller) - 1:
            self._taken[caller] = left


class CallerQueues:
    """A queue for each caller: so many of its calls are worked on at once; the others wait in their order.

    All calls share the event loop and the connections to the database. If one caller's fifty lists were all
    worked on at once, everybody's next call would wait for fifty lists.

    Args:
        at_once: How many of one caller.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        # A call that need not wait takes none.
        self.waiting = Places(_WAITING, _WAITING_OF_ONE)
        # A queue lives as long as a call is in it: there may be millions of addresses.
        self._queues: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()

    def turn(self, caller: Hashable) -> "_Turn":
        """Return what is entered for a call's work: `async with` waits for the turn, and gives it back.

        Raises, when it is entered:
            TooManyCalls: the caller has as many that wait as one may have.
            Overloaded: too many wait.
        """
        return _Turn(self, caller)

    def of(self, caller: Hashable) -> asyncio.Semaphore:
        """Return the queue of a caller; who holds it is being worked on."""
        queue = self._queues.get(caller)
        if queue is None:
            queue = self._queues[caller] = asyncio.Semaphore(self._at_once)
        return queue


class _Turn:
    """One call's turn. A class, because a generator's frame would keep the queue alive with a traceback."""

    __slots__ = ("_caller", "_queue", "_waiting")

    def __init__(self, queues: CallerQueues, caller: Hashable) -> None:
        self._queue = queues.of(caller)
        self._waiting = queues.waiting
        self._caller = caller

    async def __aenter__(self) -> None:
        if not self._queue.locked():
            await self._queue.acquire()  # at once
            return
        self._waiting.take(self._caller)
        try:
            await self._queue.acquire()
        finally:
            self._waiting.give_back(self._caller)

    async def __aexit__(self, *_: object) -> None:
        self._queue.release()


@dataclass(frozen=True)
class Room:
    """Places for people and guests, and others for services, so that neither crowd the others out."""

    people: Places
    # Addresses, whose callers show no token: anyone can have many of them.
    guests: Places
    services: Places

    def of(self, *, is_service: bool, is_guest: bool = False) -> Places:
        """Return the places of services, of guests or of people."""
        if is_service:
            return self.services
        return self.guests if is_guest else self.people

    @classmethod
    def for_calls(cls, count: int) -> "Room":
        """Return a room for so many calls of people, of whom one may have a quarter.

        A service calls for many people at once, from several processes of the same size as this one: it gets
        twice as many, and leaves as many as people have to the other services.
        """
        people = Places(count, -(-count // 4))
        return cls(people, people, Places(3 * count, 2 * count))

    @classmethod
    def apart(cls, total: int, per_caller: int) -> "Room":
        """Return a room in which services have as many places as people, and of their own."""
        people = Places(total, per_caller)
        return cls(people, people, Places(total, per_caller))

    @classmethod
    def for_streams(cls, total: int, per_caller: int) -> "Room":
        """Return a room in which everybody is counted alike, and guests together have at most half.

        A stream stays for minutes: 50 addresses would otherwise keep all customers out for as long.
        """
        places = Places(total, per_caller)
        return cls(places, Places(-(-total // 2), per_caller, part_of=places), places)
