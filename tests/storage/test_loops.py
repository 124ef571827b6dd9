"""Background loops: what fails in one look ends no loop, and a bug is told with its place."""

import asyncio

import asyncpg
import pytest
import structlog

from services.errors import ServiceUnavailable, first_of
from services.storage.loops import outliving, run_batches


@pytest.mark.parametrize(
    ("error", "is_told_with_its_place"),
    [
        (ServiceUnavailable("the database cannot be reached"), False),
        (asyncpg.ConnectionDoesNotExistError("gone"), False),
        (asyncpg.AdminShutdownError("stopping"), False),
        (asyncpg.UndefinedColumnError("no such column"), True),
        (KeyError("version"), True),
        (ExceptionGroup("of tasks", [ServiceUnavailable("the database cannot be reached")]), False),
        (ExceptionGroup("of tasks", [KeyError("version")]), True),
    ],
)
def test_a_bug_is_told_with_its_place_and_a_lost_database_in_one_line(
    error: Exception, *, is_told_with_its_place: bool
) -> None:
    with structlog.testing.capture_logs() as told, outliving("the look failed", order_id="o"):
        raise error
    [line] = told
    first = first_of(error)
    assert (line["event"], line["error"], line["order_id"]) == ("the look failed", type(first).__name__, "o")
    assert line["exc_info"] is (first if is_told_with_its_place else False)


def test_a_cancelled_loop_ends() -> None:
    with pytest.raises(asyncio.CancelledError), outliving("the look failed"):
        raise asyncio.CancelledError


async def test_a_whole_batch_is_followed_by_another_at_once_and_less_or_a_failure_by_a_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[object] = []
    outcomes: list[int | BaseException] = [5, 5, 2, KeyError("x"), 0, asyncio.CancelledError()]

    async def work() -> int:
        outcome = outcomes.pop(0)
        happened.append(outcome)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def sleep(seconds: float) -> None:
        happened.append(seconds)

    monkeypatch.setattr("services.storage.loops.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await run_batches("the look failed", work, batch=5, interval_seconds=7.5)
    assert [each for each in happened if not isinstance(each, BaseException)] == [5, 5, 2, 7.5, 7.5, 0, 7.5]
