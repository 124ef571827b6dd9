"""Which access tokens have ended before their time; services/rpc/endings_feed.py hears of it.

A token names its session and the version of the account that its scopes are from. It ends with its session,
or when the account gets other roles or is closed.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import structlog

from services.errors import ServiceUnavailable, SessionEnded
from services.process import current_task

# As long as an access token lives (services/user/sessions/domain.py) and clocks differ. What has ended is
# remembered for so long; after that its tokens have expired.
TOKEN_SECONDS = 15 * 60.0
_REMEMBERED_SECONDS = TOKEN_SECONDS + 60.0
# Of each kind: about 50 MB. So many end in a quarter of an hour where 200 people a second log in and out.
_MOST = 200_000
# Whoever forgets too early has it told so often: at most once a minute.
_TOLD_SECONDS = 60.0
# A process that has just started waits so long for what has ended before it.
_FIRST_SECONDS = 2.0

log = structlog.get_logger(__name__)

Value = TypeVar("Value")


@dataclass(eq=False)
class _Stream:
    """A stream of one person that is open, and the task that it runs in."""

    subject: UUID
    session_id: UUID
    version: int
    task: asyncio.Task[Any]
    has_ended: bool = False


class Endings:
    """Sessions and roles that have ended, and the streams that end with them.

    No token is accepted until `know`: a process that nobody tells what has ended accepts none at all.

    Args:
        clock: Seconds that only go on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Each with when it may be forgotten, the oldest first.
        self._sessions: OrderedDict[UUID, tuple[None, float]] = OrderedDict()
        # The versions from which on tokens are good.
        self._versions: OrderedDict[UUID, tuple[int, float]] = OrderedDict()
        self._streams: set[_Stream] = set()
        self._told_at = float("-inf")
        # Whether tokens may be accepted: not before somebody has told what has ended.
        self.are_known = False
        self._tried = asyncio.Event()
        self._heard = asyncio.Event()

    def know(self) -> None:
        """Accept tokens: all that has ended so far was told."""
        self.are_known = True
        self._tried.set()
        self._heard.set()

    def give_up_waiting(self) -> None:
        """Say that it cannot be learnt now: who waits for `known` is refused at once, until `know`."""
        self._tried.set()

    async def await_first(self, seconds: float) -> None:
        """Wait until it is known what has ended, but no longer than this."""
        if self.are_known:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        except TimeoutError:
            log.warning("serving before it is known which sessions have ended")

    async def known(self) -> None:
        """Wait until it is known what has ended.

        Raises:
            ServiceUnavailable: this process has just started and cannot learn it.
        """
        if self.are_known:
            return
        try:
            async with asyncio.timeout(_FIRST_SECONDS):
                await self._tried.wait()
        except TimeoutError:
            pass
        if not self.are_known:
            raise ServiceUnavailable("access tokens cannot be verified at the moment")

    def has_ended(self, subject: UUID, session_id: UUID, version: int) -> bool:
        """Return whether a token has ended that names this person, session and version of the account."""
        least = self._versions.get(subject)
        return session_id in self._sessions or (least is not None and version < least[0])

    def check(self, subject: UUID, session_id: UUID, version: int) -> None:
        """Check that a token has not ended.

        Raises:
            SessionEnded: it has.
        """
        if self.has_ended(subject, session_id, version):
            raise _ended()

    def end_session(self, session_id: UUID) -> None:
        """End the tokens of a session."""
        self._remember(self._sessions, session_id, None)
        self._end_streams(lambda stream: stream.session_id == session_id)

    def end_tokens_before(self, subject: UUID, version: int) -> None:
        """End a person's tokens that were issued for earlier versions of the account."""
        least, _ = self._versions.get(subject, (0, 0.0))
        self._remember(self._versions, subject, max(least, version))
        self._end_streams(lambda stream: stream.subject == subject and stream.version < version)

    @contextmanager
    def watch(self, subject: UUID, session_id: UUID, version: int) -> Iterator[None]:
        """Around a stream in the current task: it is cancelled when its token ends.

        Raises:
            SessionEnded: the token has ended, before or meanwhile.
        """
        self.check(subject, session_id, version)
        task = current_task()
        stream, before = _Stream(subject, session_id, version, task), task.cancelling()
        self._streams.add(stream)
        try:
            yield
        except asyncio.CancelledError:
            # Its caller may have gone, or the process may stop, at the same moment.
            if stream.has_ended and task.uncancel() <= before:
                raise _ended() from None
            raise
        finally:
            self._streams.discard(stream)

    def _end_streams(self, ends: Callable[[_Stream], bool]) -> None:
        for stream in self._streams:
            if not stream.has_ended and ends(stream):
                stream.has_ended = True
                stream.task.cancel()

    def _remember(self, table: OrderedDict[UUID, tuple[Value, float]], key: UUID, value: Value) -> None:
        now = self._clock()
        table[key] = value, now + _REMEMBERED_SECONDS
        table.move_to_end(key)
        while (oldest := next(iter(table.values())))[1] <= now or len(table) > _MOST:
            if oldest[1] > now:
                self._tell_forgetting(now)
            table.popitem(last=False)

    def _tell_forgetting(self, now: float) -> None:
        if now - self._told_at >= _TOLD_SECONDS:
            self._told_at = now
            log.error("ended tokens are forgotten before their time: too many end at once")


def _ended() -> SessionEnded:
    return SessionEnded(
        "the session has ended, or its account has other roles now: refresh it or log in again"
    )
