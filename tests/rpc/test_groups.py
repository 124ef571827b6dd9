"""Commands done in groups: each fares as it would alone, whatever happens to the others."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import pytest

from services.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    NotYet,
    ServiceError,
    ServiceUnavailable,
    VersionConflict,
)
from services.rpc import groups
from services.rpc.deadline import set_remaining
from services.rpc.groups import GroupCommit
from services.storage import postgres
from services.storage.postgres import Connection, Pool, open_pool, transaction
from tests.conftest import DatabaseHandle
from tests.support.waiting import PATIENCE_SECONDS, until

INSERT = "INSERT INTO outbox (ev_id) VALUES ($1)"


@pytest.fixture(scope="module")
def handle(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    return database("order")


@pytest.fixture
async def pool(handle: DatabaseHandle) -> AsyncIterator[Pool]:
    pool = await handle.pool()
    await pool.execute("DELETE FROM outbox")
    yield pool
    await pool.close()


@dataclass
class Desk:
    """Writes numbers down in groups; refuses those below 0, and leaves those above 1000 to be done alone."""

    pool: Pool
    # A group runs while this is set.
    may_go: asyncio.Event = field(default_factory=asyncio.Event)
    groups: list[list[int]] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)
    # What needs a row that somebody has, and of which numbers it was asked whether they do.
    locked: set[int] = field(default_factory=set)
    looks: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.group: GroupCommit[int, int] = GroupCommit(
            self.pool, self._together, self._alone, self._are_unlocked
        )
        self.has_begun = asyncio.Event()
        self.may_go.set()

    async def _together(self, conn: Connection, numbers: Sequence[int]) -> list[int | ServiceError | None]:
        self.groups.append(list(numbers))
        for number in numbers:
            if 0 <= number < 1000:
                await conn.execute(INSERT, number)
        self.has_begun.set()
        await self.may_go.wait()
        return [
            FailedPrecondition(f"{number}") if number < 0 else None if number > 1000 else number * 10
            for number in numbers
        ]

    async def _alone(self, number: int) -> int:
        self.alone.append(number)
        async with transaction(self.pool) as conn:
            await conn.execute(INSERT, number)
        return number * 10

    async def _are_unlocked(self, _: Connection, numbers: Sequence[int]) -> list[bool]:
        self.looks.append(list(numbers))
        return [number not in self.locked for number in numbers]

    async def hold_up(self) -> "asyncio.Task[int]":
        """Have a group of 0 run until `may_go` is set."""
        self.may_go.clear()
        running = asyncio.create_task(self.group.run(0))
        await self.has_begun.wait()
        return running

    async def join(self, *numbers: int) -> "list[asyncio.Task[int]]":
        """Have calls wait for the next group."""
        tasks = [asyncio.create_task(self.group.run(number)) for number in numbers]
        await turn_of_the_loop()
        return tasks

    async def written(self) -> list[int]:
        rows = await self.pool.fetch("SELECT ev_id FROM outbox ORDER BY ev_id")
        return [row["ev_id"] for row in rows]


async def turn_of_the_loop() -> None:
    await asyncio.sleep(0)


@pytest.fixture
def desk(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Desk:
    # However slow the machine: what comes while a group runs waits for it.
    monkeypatch.setattr(groups, "_IN_THE_WAY_SECONDS", PATIENCE_SECONDS)
    return Desk(pool)


async def test_a_call_that_comes_alone_is_a_group_of_one(desk: Desk) -> None:
    assert [await desk.group.run(number) for number in (1, 2)] == [10, 20]
    assert (desk.groups, desk.alone) == ([[1], [2]], [])


async def test_calls_that_come_while_a_group_runs_are_the_next_group(desk: Desk) -> None:
    first = await desk.hold_up()
    tasks = await desk.join(1, 2, 3)
    desk.may_go.set()
    assert list(await asyncio.gather(first, *tasks)) == [0, 10, 20, 30]
    assert desk.groups == [[0], [1, 2, 3]]
    assert await desk.written() == [0, 1, 2, 3]


async def test_a_group_that_takes_long_lets_the_next_pass(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_IN_THE_WAY_SECONDS", 0.01)
    slow = await desk.hold_up()
    desk.has_begun.clear()
    later = await desk.join(1, 2)
    await desk.has_begun.wait()
    assert not slow.done()
    assert desk.groups == [[0], [1, 2]]
    desk.may_go.set()
    assert list(await asyncio.gather(slow, *later)) == [0, 10, 20]


async def test_no_more_than_four_groups_run_however_long_they_take(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_IN_THE_WAY_SECONDS", 0.0)
    tasks = [await desk.hold_up()]
    for number in range(1, 6):
        desk.has_begun.clear()
        tasks += await desk.join(number)
        if number < 4:
            await desk.has_begun.wait()
    assert desk.groups == [[0], [1], [2], [3]]
    desk.may_go.set()
    assert list(await asyncio.gather(*tasks)) == [0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize("remaining", [None, groups._ANSWER_SECONDS + 0.1])
async def test_one_callers_commands_are_answered_in_time_and_those_that_wait_may_be_asked_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, remaining: float | None
) -> None:
    monkeypatch.setattr(groups, "_ANSWER_WAITS_SECONDS", 0.1 if remaining is None else PATIENCE_SECONDS)
    slow = await desk.hold_up()
    set_remaining(remaining)
    late = await asyncio.create_task(desk.group.run_all([1]))
    assert isinstance(late[0], NotYet)
    set_remaining(None)
    desk.may_go.set()
    assert await slow == 0
    assert await desk.group.run_all([1]) == [10]


async def test_the_answer_to_many_commands_waits_for_no_row_that_is_locked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_ANSWER_WAITS_SECONDS", PATIENCE_SECONDS)
    desk.group._careful_until, desk.locked = float("inf"), {2}
    answers = await desk.group.run_all([1, 2, 3])
    assert (answers[0], type(answers[1]), answers[2]) == (10, NotYet, 30)
    assert desk.looks == [[1, 2, 3]]
    desk.locked.clear()
    assert await desk.group.run_all([2]) == [20]


async def test_a_group_has_at_most_a_hundred_members(desk: Desk) -> None:
    first = await desk.hold_up()
    tasks = await desk.join(*range(1, 251))
    desk.may_go.set()
    assert list(await asyncio.gather(first, *tasks)) == [number * 10 for number in range(251)]
    assert [len(each) for each in desk.groups] == [1, 100, 100, 50]


async def test_each_has_its_own_answer_or_refusal(desk: Desk) -> None:
    answers: list[Any] = await desk.group.run_all([1, -2, 3, 1004])
    assert (answers[0], answers[2], answers[3]) == (10, 30, 10040)
    assert isinstance(answers[1], FailedPrecondition)
    assert (desk.groups, desk.alone) == ([[1, -2, 3, 1004]], [1004])
    with pytest.raises(FailedPrecondition, match="-7"):
        await desk.group.run(-7)


async def test_a_command_that_breaks_its_group_fails_alone(desk: Desk, pool: Pool) -> None:
    await pool.execute(INSERT, 2)
    answers = await desk.group.run_all([1, 2, 3])
    assert (answers[0], answers[2]) == (10, 30)
    assert isinstance(answers[1], asyncpg.UniqueViolationError)
    assert await desk.written() == [1, 2, 3]
    # And the next is done in a group again.
    assert await desk.group.run(4) == 40
    assert desk.groups == [[1, 2, 3], [4]]


async def test_a_group_to_which_somebody_outside_was_faster_is_done_again_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = desk.group._together
    faster = [VersionConflict("somebody was faster")]

    async def overtaken(conn: Connection, numbers: Sequence[int]) -> Sequence[int | ServiceError | None]:
        answers = await once(conn, numbers)
        if faster:
            raise faster.pop()
        return answers

    monkeypatch.setattr(desk.group, "_together", overtaken)
    assert await desk.group.run_all([1, 2]) == [10, 20]
    assert (desk.groups, desk.alone) == ([[1, 2], [1, 2]], [])
    faster += [VersionConflict("always")] * 2
    assert await desk.group.run_all([3, 4]) == [30, 40]
    assert desk.alone == [3, 4]
    assert await desk.written() == [1, 2, 3, 4]


async def test_who_gives_up_while_it_waits_is_left_out(desk: Desk) -> None:
    first = await desk.hold_up()
    one, two, three = await desk.join(1, 2, 3)
    two.cancel()
    desk.may_go.set()
    assert list(await asyncio.gather(first, one, three)) == [0, 10, 30]
    assert desk.groups == [[0], [1, 3]]
    assert await desk.written() == [0, 1, 3]


async def test_who_gives_up_while_its_group_runs_ends_it_for_nobody(desk: Desk) -> None:
    first = await desk.hold_up()
    one, two = await desk.join(1, 2)
    desk.has_begun.clear()
    desk.may_go.set()
    await first
    desk.may_go.clear()
    await desk.has_begun.wait()
    one.cancel()
    desk.may_go.set()
    assert await two == 20
    assert one.cancelled()
    assert (desk.groups, desk.alone) == ([[0], [1, 2]], [])


async def test_the_first_of_a_group_gives_up_and_the_rest_is_done(desk: Desk) -> None:
    first = await desk.hold_up()
    first.cancel()
    [one] = await desk.join(1)
    desk.may_go.set()
    assert await one == 10
    assert await desk.written() == [0, 1]


async def test_whose_deadline_has_passed_is_left_out(desk: Desk) -> None:
    async def late() -> int:
        set_remaining(0)
        return await desk.group.run(2)

    first = await desk.hold_up()
    [one] = await desk.join(1)
    task = asyncio.create_task(late())
    await turn_of_the_loop()
    desk.may_go.set()
    assert list(await asyncio.gather(first, one)) == [0, 10]
    with pytest.raises(DeadlineExceeded):
        await task
    assert await desk.written() == [0, 1]


async def test_a_group_that_waits_for_a_row_is_done_without_those_that_need_it(
    desk: Desk, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_PATIENCE_SECONDS", 0.2)
    desk.locked = {2}
    async with transaction(pool) as conn:
        # Who inserts it too waits for this transaction.
        await conn.execute(INSERT, 2)
        one, two, three = await desk.join(1, 2, 3)
        assert list(await asyncio.gather(one, three)) == [10, 30]
        # The next group does not wait for it first.
        gone, four = await desk.join(2, 4)
        assert await four == 40
        gone.cancel()
        await until(lambda: looked_again(desk, 5))
        assert desk.groups == [[1, 2, 3], [1, 3], [4]]
        assert not two.done()
        await conn.execute("DELETE FROM outbox WHERE ev_id = 2")
    desk.locked = set()
    assert await two == 20
    assert (desk.groups[3:], desk.alone) == ([[2]], [])
    assert await desk.written() == [1, 2, 3, 4]


async def looked_again(desk: Desk, times: int) -> bool:
    return len(desk.looks) >= times


async def test_who_gives_up_while_a_row_is_locked_is_not_looked_at_again(
    desk: Desk, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_PATIENCE_SECONDS", 0.1)
    desk.locked = {2, 3}
    async with transaction(pool) as conn:
        await conn.execute(INSERT, 2)
        two, three = await desk.join(2, 3)
        await until(lambda: looked_again(desk, 2))
        two.cancel()
        await turn_of_the_loop()
        seen = len(desk.looks)
        await until(lambda: looked_again(desk, seen + 2))
        assert desk.looks[-1] == [3]
        desk.locked = set()
        assert await three == 30
    assert desk.groups == [[2, 3], [3]]


async def test_groups_look_for_locked_rows_for_a_while_only(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(groups, "_CAREFUL_SECONDS", 0.0)

    async def has_looked() -> bool:
        return bool(desk.looks)

    first = await desk.hold_up()
    await until(has_looked)
    desk.may_go.set()
    assert await first == 0
    assert await desk.group.run(1) == 10
    assert desk.looks == [[0]]


async def test_a_group_that_waits_for_nobody_knows_what_is_done_one_by_one(
    desk: Desk, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_PATIENCE_SECONDS", 0.05)
    async with transaction(pool) as conn:
        await conn.execute(INSERT, 2)
        one, two, three = await desk.join(1, 2, 3)
        assert list(await asyncio.gather(one, three)) == [10, 30]
        assert not two.done()
        await conn.execute("DELETE FROM outbox WHERE ev_id = 2")
    assert await two == 20
    assert await desk.written() == [1, 2, 3]


async def test_a_connection_that_is_killed_under_a_group_leaves_nothing_half_done(
    desk: Desk, pool: Pool
) -> None:
    first = await desk.hold_up()
    tasks = await desk.join(1, 2)
    [backend] = await pool.fetch("SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction'")
    await pool.execute("SELECT pg_terminate_backend($1)", backend["pid"])
    desk.may_go.set()
    assert list(await asyncio.gather(first, *tasks)) == [0, 10, 20]
    assert desk.alone == [0]
    assert await desk.written() == [0, 1, 2]


async def test_a_group_that_gets_no_connection_is_told_so_once(
    handle: DatabaseHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "ACQUIRE_TIMEOUT_SECONDS", 0.05)
    pool = await open_pool(replace(handle.settings, pool_size=1))
    desk = Desk(pool)
    async with pool.acquire():
        answers = await desk.group.run_all([1, 2])
    assert [type(each) for each in answers] == [ServiceUnavailable] * 2
    assert (desk.groups, desk.alone) == ([], [])
    await pool.close()
