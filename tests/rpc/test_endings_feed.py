"""How a process hears what has ended: from the last events on, resumed, and told where it cannot."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from commerce.event.v1 import event_pb2
from commerce.user.v1 import auth_pb2, events_pb2, role_pb2
from google.protobuf.message import Message
from structlog.testing import capture_logs

from services.errors import PositionUnknown, ServiceUnavailable
from services.rpc import endings_feed
from services.rpc.endings import Endings
from services.rpc.endings_feed import EndingsFeed, Source
from tests.support.net import until


def event(position: int, data: Message, version: int = 1) -> event_pb2.Event:
    made = event_pb2.Event(position=position, version=version, type=data.DESCRIPTOR.name, source="user")
    made.data.Pack(data)
    return made


def session_ended(position: int, session_id: UUID) -> event_pb2.Event:
    return event(position, events_pb2.SessionEnded(session_id=str(session_id), user_id=str(uuid4())))


@dataclass
class Feed:
    """A feed that a test writes; `break_off` ends the stream that is read."""

    requests: list[event_pb2.FollowRequest] = field(default_factory=list)
    pages: list[auth_pb2.ListEndingsResponse | Exception] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    connections: int = 1
    answers: "asyncio.Queue[event_pb2.FollowResponse | Exception]" = field(default_factory=asyncio.Queue)

    def tell(self, *events: event_pb2.Event, position: int | None = None) -> None:
        at = position if position is not None else events[-1].position
        self.answers.put_nowait(event_pb2.FollowResponse(events=events, position=at, caught_up=True))

    def break_off(self, error: Exception) -> None:
        self.answers.put_nowait(error)

    async def list_endings(self, request: auth_pb2.ListEndingsRequest) -> auth_pb2.ListEndingsResponse:
        self.asked.append(request.after)
        page = self.pages.pop(0) if self.pages else auth_pb2.ListEndingsResponse()
        if isinstance(page, Exception):
            raise page
        return page

    def reconnect(self) -> None:
        self.connections += 1

    async def follow(self, request: event_pb2.FollowRequest) -> AsyncIterator[event_pb2.FollowResponse]:
        self.requests.append(request)
        while True:
            answer = await self.answers.get()
            if isinstance(answer, Exception):
                raise answer
            yield answer


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings_feed, "_PAUSE_SECONDS", (0.0, 0.001))


@contextmanager
def following(feed: Any) -> Iterator[Endings]:
    endings = Endings()
    source = Source(feed.list_endings, feed.follow, feed.reconnect)
    task = asyncio.create_task(EndingsFeed(endings, source).run())
    try:
        yield endings
    finally:
        task.cancel()


async def test_a_process_that_starts_hears_first_what_has_ended_while_tokens_live() -> None:
    feed, session, person, cursor = Feed(), uuid4(), uuid4(), str(uuid4())
    account = auth_pb2.AccountEnding(user_id=person.bytes, version=3)
    feed.pages = [
        auth_pb2.ListEndingsResponse(session_ids=[session.bytes], position=7, next_after=cursor),
        auth_pb2.ListEndingsResponse(accounts=[account], position=9),
    ]
    with following(feed) as endings:
        known = asyncio.create_task(endings.known())
        await until(lambda: len(feed.requests) == 1)
        # What ended while the second page was read may belong to the first.
        assert (feed.asked, feed.requests[0].after_position) == (["", cursor], 7)
        assert set(feed.requests[0].types) == {"SessionEnded", "UserDeleted", "UserUpdated"}
        assert not known.done()
        assert endings.has_ended(uuid4(), session, 1)
        assert [endings.has_ended(person, uuid4(), version) for version in (2, 3)] == [True, False]
        feed.tell(position=7)
        await known


async def test_sessions_closed_accounts_and_other_roles_end_tokens_and_nothing_else_does() -> None:
    feed, session, closed, changed, renamed = Feed(), *(uuid4() for _ in range(4))
    customer = [role_pb2.ROLE_CUSTOMER]
    with following(feed) as endings:
        feed.tell(
            session_ended(1, session),
            event(2, events_pb2.UserDeleted(user_id=str(closed)), version=5),
            event(
                3,
                events_pb2.UserUpdated(user_id=str(changed), changed_fields=["roles"], roles=customer),
                version=3,
            ),
            event(
                4,
                events_pb2.UserUpdated(user_id=str(renamed), changed_fields=["display_name"], roles=customer),
                version=3,
            ),
            event(5, events_pb2.UserCreated(user_id=str(uuid4()), roles=customer)),
            event(6, events_pb2.PasswordChanged(user_id=str(renamed)), version=4),
        )
        await until(lambda: endings.has_ended(uuid4(), session, 1))
        assert endings.has_ended(closed, uuid4(), 4)
        assert [endings.has_ended(changed, uuid4(), version) for version in (2, 3)] == [True, False]
        assert not endings.has_ended(renamed, uuid4(), 1)


async def test_a_feed_that_breaks_off_is_resumed_where_it_was() -> None:
    feed, session = Feed(), uuid4()
    with following(feed) as endings:
        feed.tell(position=41)
        feed.break_off(ServiceUnavailable("the service is stopping"))
        await until(lambda: len(feed.requests) == 2)
        assert (feed.requests[1].after_position, len(feed.asked)) == (41, 1)
        # Nobody is refused meanwhile for what is not heard.
        await endings.known()
        feed.tell(session_ended(42, session))
        await until(lambda: endings.has_ended(uuid4(), session, 1))


async def test_of_a_log_that_was_set_back_it_is_read_anew_what_has_ended() -> None:
    feed = Feed()
    with following(feed):
        feed.tell(position=41)
        feed.break_off(PositionUnknown("after_position is past the head of the log"))
        await until(lambda: len(feed.requests) == 2)
        assert (feed.requests[1].after_position, len(feed.asked)) == (0, 2)


async def test_a_process_that_starts_without_the_user_service_accepts_nothing_and_asks_on() -> None:
    feed = Feed()
    feed.pages = [ServiceUnavailable("away") for _ in range(3)]
    with following(feed) as endings:
        await until(lambda: len(feed.requests) == 1)
        assert len(feed.asked) == 4
        with pytest.raises(ServiceUnavailable):
            await endings.known()
        feed.tell(position=0)
        await until(lambda: endings.are_known)
        await endings.known()


async def test_a_feed_that_falls_silent_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings_feed, "_SILENCE_SECONDS", 0.05)
    feed = Feed()
    with following(feed):
        feed.tell(position=3)
        await until(lambda: len(feed.requests) >= 2)
        assert feed.requests[1].after_position == 3
        # Whoever is frozen and keeps the connection would be asked again over it.
        assert feed.connections >= 2


async def test_who_does_not_hear_for_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings_feed, "_DEAF_SECONDS", 0.05)
    feed = Feed()
    with capture_logs() as said, following(feed) as endings:
        feed.tell(position=3)
        await until(lambda: endings.are_known)

        def told() -> bool:
            feed.break_off(ServiceUnavailable("away"))
            return any("not heard of" in each["event"] for each in said)

        await until(told)
        await endings.known()
    (first, *_) = [each for each in said if "not heard of" in each["event"]]
    assert (first["log_level"], first["reason"]) == ("error", "SERVICE_UNAVAILABLE")


async def test_an_event_that_is_not_understood_is_told_and_keeps_nobody_from_the_next() -> None:
    feed, session = Feed(), uuid4()
    with capture_logs() as said, following(feed) as endings:
        feed.tell(event(1, events_pb2.SessionEnded(session_id="no UUID")), session_ended(2, session))
        await until(lambda: endings.has_ended(uuid4(), session, 1))
        assert len(feed.requests) == 1
    assert [each["position"] for each in said if "not understood" in each["event"]] == ["1"]


async def test_a_bug_in_following_is_told_and_the_feed_read_anew() -> None:
    feed, session = Feed(), uuid4()
    with capture_logs() as said, following(feed) as endings:
        feed.break_off(RuntimeError("a bug"))
        await until(lambda: len(feed.requests) == 2)
        feed.tell(session_ended(2, session))
        await until(lambda: endings.has_ended(uuid4(), session, 1))
    assert "ended sessions are not followed" in [each["event"] for each in said]
