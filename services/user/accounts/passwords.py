"""Password hashes: Argon2id on a few threads, with a bounded queue. Never on the event loop."""

import asyncio
import os
import secrets
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2

from services.errors import Overloaded

# The OWASP minimum for Argon2id: 19 MiB and about 23 ms a hash.
_MEMORY_KIBIBYTES = 19_456
_PASSES = 2
_LANES = 1

# Argon2 runs outside the interpreter's lock; half of the cores stay with the event loops.
_THREADS = max(1, (os.cpu_count() or 1) // 2)
# 48 times 23 ms: who waits longer than that is one of too many. More than the contract lets one address ask
# for at once, 20 log-ins and 20 registrations: alone, nobody fills the queue for everyone else.
_WAITING_PER_THREAD = 48
_RETRY_AFTER_SECONDS = 1.0

Result = TypeVar("Result")


class Passwords:
    """Hashes and verifies passwords; owns the threads that do it."""

    def __init__(self, threads: int = _THREADS, waiting_per_thread: int = _WAITING_PER_THREAD) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=_PASSES, memory_cost=_MEMORY_KIBIBYTES, parallelism=_LANES, type=argon2.Type.ID
        )
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._places = threading.BoundedSemaphore(threads * (1 + waiting_per_thread))
        # Verified against where there is no account, so that its absence takes as long as its presence.
        self._decoy = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """Return the password's hash in PHC form, with its own salt.

        Raises:
            Overloaded: too many are waiting.
        """
        return await self._run(lambda: self._hasher.hash(_octets(password)))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Tell whether the password is the one; always no, in the same time, where there is no hash.

        Raises:
            Overloaded: too many are waiting.
        """
        matches = await self._run(lambda: self._matches(password_hash or self._decoy, password))
        return matches and password_hash is not None

    async def close(self) -> None:
        """Drop what is waiting and let what is running end."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)

    async def _run(self, work: Callable[[], Result]) -> Result:
        if not self._places.acquire(blocking=False):
            raise Overloaded(
                "too many log-ins and registrations at once: try again in a moment",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        future = self._executor.submit(work)
        # Given back by the thread, not by the caller: one who gives up still occupies it.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, _octets(password))
        except argon2.exceptions.VerifyMismatchError:
            return False


def _octets(password: str) -> bytes:
    # RFC 8265, section 4.2: keyboards that compose "é" differently enter the same password.
    return unicodedata.normalize("NFC", password).encode()
