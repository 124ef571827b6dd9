"""Commands of calls that run at the same time, done together: one transaction or call for all of them.

Who comes while a group runs is in the next one. Nobody waits for company: there is no timer, and a call that
comes alone is a group of one, at once.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from enum import Enum
from typing import Generic, TypeVar

import structlog

from services.errors import Code, DeadlineExceeded, NotYet, ServiceError
from services.rpc.deadline import is_over, remaining_seconds
from services.storage.postgres import Connection, Pool, transaction

log = structlog.get_logger(__name__)

Command = TypeVar("Command")
Answer = TypeVar("Answer")

# Failures of which no command is the cause: alone each would meet the same again.
_NOBODYS = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED})
# Few enough that deciding them keeps the event loop busy for some milliseconds only.
_MOST_MEMBERS = 100
# A group takes some milliseconds. Who comes later waits for it for this long; then the next group begins
# beside it, and so many may run at once: one row that somebody does not let go of shall not stop them all.
# Less than _ANSWER_SECONDS: who waited for a group of many callers' commands would else be in one whose last
# caller has so much more time than they that its answer comes after their deadline.
_IN_THE_WAY_SECONDS = 0.25
_MOST_RUNNING = 4
# A group's transaction that takes this long waits for such a row: then those of its commands that need no row
# that is locked are done without the others. Far above what a process or a database that is merely busy
# takes, and below the deadlines of calls.
_PATIENCE_SECONDS = 1.0
# For so long after that, groups look which rows are locked before they begin: they would else meet the same
# row again, and hold others while they wait for it.
_CAREFUL_SECONDS = 5.0
# A command that needs a locked row is looked at again after this time. Meanwhile it has no row, no connection
# and no place that another could want, and it is done with all others that wait for the same row.
_LATER_SECONDS = 0.1
# So often. Where many processes take turns at a row it may be locked at each look: then it is waited for,
# alone and in the row's own queue.
_MOST_LOOKS = 20
# An answer to many commands waits for those that are not done for half of the time that its callers have.
_ANSWER_WAITS_SECONDS = 2.0
# What it takes from there to whoever asked.
_ANSWER_SECONDS = 0.3


class Later(Enum):
    """The outcome of a command that is to be tried again in a moment, with others."""

    LATER = "later"


@dataclass(frozen=True, eq=False)
class _Member(Generic[Command, Answer]):
    """A command that waits for its group, and who waits for its outcome; None: it is to be done alone."""

    command: Command
    outcome: "asyncio.Future[Answer | ServiceError | None]"
    # Of the call: its deadline, and the trace in which the statements are seen.
    context: Context
    # Others wait for the same answer: who asked looks again, not we.
    is_of_many: bool = False
    looks: int = 0

    def tell(self, outcome: Answer | ServiceError | None) -> None:
        # Who has given up is told nothing.
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Groups(Generic[Command, Answer]):
    """Does commands in groups, one group at a time unless one takes long.

    What a caller does meanwhile touches no other: who gives up is left out, or is not told; a command that
    breaks its group breaks it alone, because then each is done alone, by its own call. Nothing has to be
    stopped: whoever closes the pool waits for the group that has its connection.

    Args:
        together: Does commands and returns an outcome for each: an answer, a refusal that wrote nothing,
            None where a command would have others wait and is better done alone, or LATER. Where it raises,
            it has done nothing, or what may be done again.
        alone: Does one command. Without it a command that is to be done alone is a group of one.
        in_the_way_seconds: For how long a group stands in the way of the next.
        most_running: How many groups run at once; and how many commands that are done alone, unless `alone`
            bounds them itself.
        most_looks: How often a command that is LATER is looked at before it is done alone.
    """

    def __init__(
        self,
        together: Callable[[Sequence[Command]], Awaitable[Sequence[Answer | ServiceError | Later | None]]],
        alone: Callable[[Command], Awaitable[Answer]] | None = None,
        *,
        in_the_way_seconds: float | None = None,
        most_running: int = _MOST_RUNNING,
        most_looks: int = _MOST_LOOKS,
    ) -> None:
        self._do = together
        self._most_looks = most_looks
        self._most_running = most_running
        self._in_the_way_seconds = in_the_way_seconds
        self._alone = alone or self._do_one
        self._places = asyncio.Semaphore(most_running)
        self._waiting: deque[_Member[Command, Answer]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        # The one of these that the next group waits for.
        self._in_the_way: asyncio.Task[None] | None = None

    async def run(self, command: Command) -> Answer:
        """Do a command, with those of others.

        Raises:
            ServiceError: its own refusal.
        """
        return await self._finish(command, await self._join(command))

    async def run_all(self, commands: Sequence[Command]) -> list[Answer | BaseException]:
        """Do one caller's many commands; each has its own outcome, in their order.

        A command that needs a row which is locked, or is not done within two seconds, has the outcome NotYet:
        the others' answers wait no longer for it. It may be asked again, also where it was done meanwhile.
        """
        remaining = remaining_seconds()
        bound = _ANSWER_WAITS_SECONDS
        if remaining is not None:
            bound = min(bound, remaining - _ANSWER_SECONDS)
        joined = [self._join(command, is_of_many=True) for command in commands]
        finished = (self._finish_within(bound, *each) for each in zip(commands, joined, strict=True))
        return await asyncio.gather(*finished, return_exceptions=True)

    def _join(
        self, command: Command, *, is_of_many: bool = False
    ) -> "asyncio.Future[Answer | ServiceError | None]":
        outcome: asyncio.Future[Answer | ServiceError | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Member(command, outcome, copy_context(), is_of_many))
        self._start()
        return outcome

    async def _finish_within(
        self,
        seconds: float,
        command: Command,
        joined: "asyncio.Future[Answer | ServiceError | None]",
    ) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                return await self._finish(command, await joined)
        except TimeoutError:
            raise NotYet("others came first: ask again") from None

    async def _finish(self, command: Command, outcome: Answer | ServiceError | None) -> Answer:
        if outcome is None:
            return await self._alone(command)
        if isinstance(outcome, ServiceError):
            raise outcome
        return outcome

    async def _do_one(self, command: Command) -> Answer:
        # Not all at once: they would else take every connection.
        async with self._places:
            [outcome] = await self._do([command])
        if isinstance(outcome, ServiceError):
            raise outcome
        if outcome is None or isinstance(outcome, Later):
            raise TypeError("a command without `alone` cannot ask to be done alone, or later")
        return outcome

    def _start(self) -> None:
        if self._in_the_way is None and self._waiting and len(self._running) < self._most_running:
            members: list[_Member[Command, Answer]] = []
            context = self._waiting[0].context.copy()
            task = self._in_the_way = asyncio.create_task(self._work(members), context=context)
            self._running.add(task)
            seconds = self._in_the_way_seconds or _IN_THE_WAY_SECONDS
            timer = asyncio.get_running_loop().call_later(seconds, self._let_pass, task)
            task.add_done_callback(lambda task: self._end(members, task, timer))

    def _let_pass(self, task: "asyncio.Task[None]") -> None:
        if self._in_the_way is task:
            self._in_the_way = None
        self._start()

    async def _work(self, members: list[_Member[Command, Answer]]) -> None:
        # Now, and not when the task was made: what came with the first is in.
        members += self._take()
        if not members:
            return
        commands = [member.command for member in members]
        outcomes: Sequence[Answer | ServiceError | Later | None]
        try:
            outcomes = await self._do(commands)
        except ServiceError as error:
            if error.code not in _NOBODYS:
                raise
            outcomes = [error] * len(members)
        for member, outcome in zip(members, outcomes, strict=True):
            if not isinstance(outcome, Later):
                member.tell(outcome)
            elif member.is_of_many:
                member.tell(NotYet("a row that it needs is locked: ask again"))
            elif member.looks == self._most_looks:
                member.tell(None)
            else:
                again = replace(member, looks=member.looks + 1)
                asyncio.get_running_loop().call_later(_LATER_SECONDS, self._rejoin, again)

    def _rejoin(self, member: _Member[Command, Answer]) -> None:
        self._waiting.append(member)
        self._start()

    def _take(self) -> list[_Member[Command, Answer]]:
        taken: list[_Member[Command, Answer]] = []
        while self._waiting and len(taken) < _MOST_MEMBERS:
            member = self._waiting.popleft()
            if member.context.run(is_over):
                member.tell(DeadlineExceeded("the deadline passed"))
            elif not member.outcome.done():
                taken.append(member)
        return taken

    def _end(
        self, members: list[_Member[Command, Answer]], task: "asyncio.Task[None]", timer: asyncio.TimerHandle
    ) -> None:
        timer.cancel()
        self._running.discard(task)
        if task.cancelled():
            # The event loop ends, and everyone's call with it.
            for member in members:
                member.outcome.cancel()
            return
        error = task.exception()
        if error is not None:
            log.warning("a group is done one by one", commands=len(members), error=type(error).__name__)
            for member in members:
                member.tell(None)
        self._let_pass(task)


class GroupCommit(Groups[Command, Answer]):
    """Does commands in groups, each group in one transaction.

    Args:
        pool: Where a group's transaction runs.
        together: Does commands in that transaction, as for `Groups`. It raises a ServiceError where somebody
            outside the group was faster, and is then called again, once.
        alone: Does one command in a transaction of its own, and not all of a group's at once: they would
            take every connection. A group whose commit was lost may have done it already.
        unlocked: Says of each command whether all rows that it needs are free at this moment, or not there.
            It waits for none of them.
    """

    def __init__(
        self,
        pool: Pool,
        together: Callable[
            [Connection, Sequence[Command]], Awaitable[Sequence[Answer | ServiceError | None]]
        ],
        alone: Callable[[Command], Awaitable[Answer]],
        unlocked: Callable[[Connection, Sequence[Command]], Awaitable[Sequence[bool]]],
    ) -> None:
        super().__init__(self._in_transaction, alone)
        self._pool = pool
        self._together = together
        self._unlocked = unlocked
        self._careful_until = 0.0

    async def _in_transaction(
        self, commands: Sequence[Command]
    ) -> Sequence[Answer | ServiceError | Later | None]:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._careful_until:
            try:
                return await self._attempt(commands)
            except TimeoutError:
                log.warning("a group waits for locked rows", commands=len(commands))
                self._careful_until = loop.time() + _CAREFUL_SECONDS
        return await self._attempt_unlocked(commands)

    async def _attempt_unlocked(
        self, commands: Sequence[Command]
    ) -> Sequence[Answer | ServiceError | Later | None]:
        """Do what waits for no row now."""
        async with transaction(self._pool) as conn:
            unlocked = await self._unlocked(conn, commands)
        ready = [command for command, is_ready in zip(commands, unlocked, strict=True) if is_ready]
        answers = iter(await self._attempt_ready(ready) if ready else ())
        return [next(answers) if is_ready else Later.LATER for is_ready in unlocked]

    async def _attempt_ready(self, commands: Sequence[Command]) -> Sequence[Answer | ServiceError | None]:
        """Do commands; those that break their group are done alone, without those that wait."""
        [outcomes] = await asyncio.gather(self._attempt(commands), return_exceptions=True)
        if not isinstance(outcomes, BaseException):
            return outcomes
        is_nobodys = isinstance(outcomes, ServiceError) and outcomes.code in _NOBODYS
        if is_nobodys or isinstance(outcomes, asyncio.CancelledError):
            raise outcomes
        log.warning("a group is done one by one", commands=len(commands), error=type(outcomes).__name__)
        return [None] * len(commands)

    async def _attempt(self, commands: Sequence[Command]) -> Sequence[Answer | ServiceError | None]:
        try:
            return await self._attempt_once(commands)
        except ServiceError as error:
            if error.code in _NOBODYS:
                raise
            # Somebody else was faster, in another process perhaps: what they left is read anew.
            return await self._attempt_once(commands)

    async def _attempt_once(self, commands: Sequence[Command]) -> Sequence[Answer | ServiceError | None]:
        async with transaction(self._pool) as conn, asyncio.timeout(_PATIENCE_SECONDS):
            return await self._together(conn, commands)
