"""Password hashes: Argon2id on a few threads, with a bounded queue. Never on the event loop.

The bcrypt of people who come from another shop is verified too, and replaced at their first log-in. At a cost
of 12 it takes about ten times as long as Argon2id, so it has a thread and a queue of its own: wrong passwords
of those people hold up nobody else.
"""

import asyncio
import os
import secrets
import threading
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import argon2
import bcrypt
import structlog

from services.errors import Overloaded
from services.user.accounts.password_rules import check_password

# The OWASP minimum for Argon2id: 19 MiB and about 23 ms a hash.
_MEMORY_KIBIBYTES = 19_456
_PASSES = 2
_LANES = 1
# OWASP's others cost a guesser as much: less memory in more passes, down to 7 MiB in five, and more in one.
_LEAST_KIBIBYTES = 7_168
_LEAST_COST = _LEAST_KIBIBYTES * 5
# All that bcrypt reads of a password; its libraries cut off the rest, or refuse it.
_BCRYPT_BYTES = 72

# One at once: what has begun cannot be stopped, and takes half of a machine of two cores.
_BCRYPT_THREADS = 1
# Ten times 0.3 s, at a cost of 12: who waits longer would miss the deadline of a log-in, 5 s. More than one
# address fills: of its log-ins four are worked on at once (services/rpc/interceptors.py), each takes two
# places at the most, and one more may run whose caller has given up.
_BCRYPT_WAITING = 9

# Argon2 runs outside the interpreter's lock; half of the cores stay with the event loops.
_THREADS = max(1, (os.cpu_count() or 1) // 2)
# 48 times 23 ms: who waits longer than that is one of too many. More than the contract lets one address ask
# for at once, 20 log-ins and 20 registrations: alone, nobody fills the queue for everyone else.
_WAITING_PER_THREAD = 48
_RETRY_AFTER_SECONDS = 1.0

log = structlog.get_logger(__name__)

Result = TypeVar("Result")


class Place:
    """A place among those who wait for a thread: for one piece of work, or given back when the block ends."""

    def __init__(self, executor: ThreadPoolExecutor, places: threading.BoundedSemaphore) -> None:
        self._executor = executor
        self._places = places
        self._is_held = True

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def begin(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        """Return what will have the result. Cancelled before its turn, it takes none.

        Raises:
            RuntimeError: the place was used or given back before: its end would give back another's.
        """
        if not self._is_held:
            raise RuntimeError("this place is not held any more")
        future = self._executor.submit(work)
        # Given back by the thread, not by the caller: one who gives up still occupies it.
        self._is_held = False
        future.add_done_callback(lambda _: self._places.release())
        return asyncio.wrap_future(future)

    def give_back(self) -> None:
        """Leave the place to others, unless work has begun at it."""
        if self._is_held:
            self._is_held = False
            self._places.release()


class _Threads:
    """Threads that work in the order in which they are asked, and the bound of what waits for them."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._places = threading.BoundedSemaphore(threads + waiting)

    def reserve(self) -> "Place":
        """Take a place.

        Raises:
            Overloaded: too many are waiting.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded(
                "too many log-ins and registrations at once: try again in a moment",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        return Place(self._executor, self._places)

    def begin(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        """Return what will have the result, at a place that is taken now.

        Raises:
            Overloaded: too many are waiting.
        """
        with self.reserve() as place:
            return place.begin(work)

    async def close(self) -> None:
        """Drop what is waiting and let what is running end."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)


class Passwords:
    """Hashes and verifies passwords, and judges new ones; owns the threads that hash.

    Args:
        shop: What the shop is called.
        threads: Of Argon2id.
        waiting_per_thread: How many may wait for each.
    """

    def __init__(
        self, shop: str, threads: int = _THREADS, waiting_per_thread: int = _WAITING_PER_THREAD
    ) -> None:
        self._shop = shop
        self._hasher = argon2.PasswordHasher(
            time_cost=_PASSES, memory_cost=_MEMORY_KIBIBYTES, parallelism=_LANES, type=argon2.Type.ID
        )
        self._argon2 = _Threads("argon2", threads, threads * waiting_per_thread)
        self._bcrypt = _Threads("bcrypt", _BCRYPT_THREADS, _BCRYPT_WAITING)
        # Verified against where there is no account, so that its absence takes as long as its presence.
        self._decoy = self._hasher.hash(secrets.token_urlsafe())

    def check_choice(self, password: str, called: Iterable[str], field: str) -> None:
        """Check that a new password is not among the first that a guesser tries.

        Args:
            password: Of the length that the contract asks for.
            called: What the account is called.
            field: Where the request has it.

        Raises:
            PasswordTooCommon: it is.
        """
        check_password(password, (*called, self._shop), field)

    async def hash(self, password: str) -> str:
        """Return the password's hash in PHC form, with its own salt.

        Raises:
            Overloaded: too many are waiting.
        """
        return await self._argon2.begin(lambda: self._hasher.hash(_octets(password)))

    def reserve(self) -> Place:
        """Take the place at which one password will be verified.

        Before anything else is done for a log-in: of a crowd most are refused, and what each of them has cost
        until then takes the processors from everybody else. It is held through what the log-in reads, for as
        long as the contract lets the call take, 5 s, in which a slow database fails registrations as well.

        Raises:
            Overloaded: too many are waiting.
        """
        return self._argon2.reserve()

    async def verify(self, password_hash: str | None, password: str, place: Place) -> bool:
        """Tell whether the password is the one; always no, in the same time, where there is no hash.

        Raises:
            Overloaded: too many are waiting who come from another shop.
        """
        if password_hash is not None and _is_bcrypt(password_hash):
            place.give_back()
            return await self._matches_bcrypt(password_hash.encode(), password)
        matches = await place.begin(lambda: self._matches(password_hash or self._decoy, password))
        return matches and password_hash is not None

    def is_weak(self, password_hash: str) -> bool:
        """Tell whether a hash costs a guesser less than one that is made now, and so has to be replaced."""
        if _is_bcrypt(password_hash):
            return True
        found = argon2.extract_parameters(password_hash)
        return (
            found.type is not argon2.Type.ID
            or found.version < argon2.low_level.ARGON2_VERSION
            or found.memory_cost < _LEAST_KIBIBYTES
            or found.memory_cost * found.time_cost < _LEAST_COST
        )

    def is_whole(self, password_hash: str, password: str) -> bool:
        """Tell whether a hash that a password matches is of all of it: bcrypt reads no more than 72 bytes."""
        return not _is_bcrypt(password_hash) or len(_octets(password)) <= _BCRYPT_BYTES

    async def close(self) -> None:
        """Drop what is waiting and let what is running end."""
        await self._argon2.close()
        await self._bcrypt.close()

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, _octets(password))
        except argon2.exceptions.VerifyMismatchError:
            return False
        except (argon2.exceptions.InvalidHashError, argon2.exceptions.VerificationError) as error:
            # The schema lets in some that no library reads. Its person has a new password set by a mail.
            log.error("a password hash cannot be read", cause=type(error).__name__)
            return False

    async def _matches_bcrypt(self, password_hash: bytes, password: str) -> bool:
        jobs: list[asyncio.Future[bool]] = []
        try:
            # All take their places before one is judged: refused in between, a wrong password would be tried
            # without being counted.
            for octets in _bcrypt_forms(password):
                job = self._bcrypt.begin(partial(bcrypt.checkpw, octets, password_hash))
                jobs.append(job)
            for job in jobs:
                if await job:
                    return True
            return False
        finally:
            for job in jobs:
                job.cancel()


def _is_bcrypt(password_hash: str) -> bool:
    return password_hash.startswith("$2")


def _octets(password: str) -> bytes:
    # RFC 8265, section 4.2: keyboards that compose "é" differently enter the same password.
    return unicodedata.normalize("NFC", password).encode()


def _bcrypt_forms(password: str) -> Iterable[bytes]:
    """Return what the other shop may have hashed: our form, or what was typed. They are nearly always one."""
    return dict.fromkeys(form[:_BCRYPT_BYTES] for form in (_octets(password), password.encode()))
