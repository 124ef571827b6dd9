"""Hears from the user service which sessions end and whose roles change, and tells Endings."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

import structlog
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.user.v1 import auth_pb2, auth_pb2_grpc, events_pb2
from google.protobuf.message import Message

from services.errors import PositionUnknown, ServiceError, Unavailable
from services.rpc.channel import Channel
from services.rpc.endings import Endings
from services.storage.loops import outliving

# The feed says every second that it lives. Whoever is frozen and keeps the connection says nothing: that is
# noticed, and another process asked, within the five seconds after which an ended token must be refused.
_SILENCE_SECONDS = 2.0
# From one attempt to the next: a user service that restarts is back within seconds.
_PAUSE_SECONDS = (0.2, 0.6)
# Whoever does not hear for so long has it told, each time again: ended tokens go on working here meanwhile.
_DEAF_SECONDS = 15.0

log = structlog.get_logger(__name__)

Follow: TypeAlias = Callable[[event_pb2.FollowRequest], AsyncIterable[event_pb2.FollowResponse]]
ListEndings: TypeAlias = Callable[[auth_pb2.ListEndingsRequest], Awaitable[auth_pb2.ListEndingsResponse]]

# What ends tokens, of all that the feed tells.
_ENDING: Mapping[str, type[Message]] = {
    each.DESCRIPTOR.name: each
    for each in (events_pb2.UserUpdated, events_pb2.UserDeleted, events_pb2.SessionEnded)
}


def _nothing() -> None:
    """Do nothing: there is no connection."""


@dataclass(frozen=True)
class Source:
    """Who tells what ends: the user service, at the other end of a channel or in this process."""

    list_endings: ListEndings
    follow: Follow
    # Leaves a connection whose other end is silent.
    reconnect: Callable[[], None] = _nothing


def feed_of(channel: Channel) -> Source:
    """Return the user service at the other end of a channel."""
    feed = event_pb2_grpc.EventFeedStub(channel)  # type: ignore[no-untyped-call, unused-ignore]
    auth = auth_pb2_grpc.AuthServiceStub(channel)  # type: ignore[no-untyped-call, unused-ignore]
    return Source(auth.ListEndings, feed.Follow, channel.reconnect)


class EndingsFeed:
    """Follows the user service's feed for as long as the process runs.

    Until it has learnt what has ended lately, no token is accepted. After that, tokens are accepted also
    while the feed cannot be followed: nobody who could end a session reaches the user service then either,
    or else the network between us is cut; and every token ends by itself within a quarter of an hour.

    Args:
        endings: What is told.
        source: Who tells it.
    """

    def __init__(self, endings: Endings, source: Source) -> None:
        self._endings = endings
        self._source = source
        self._position: int | None = None
        self._heard_at = self._told_at = time.monotonic()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            with outliving("ended sessions are not followed"):
                await self._follow_once()
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))

    async def _follow_once(self) -> None:
        try:
            if self._position is None:
                self._position = await self._read_ended()
            async with aclosing(self._answers(self._position)) as answers:
                async for answer in answers:
                    self._hear(answer)
        except ServiceError as error:
            self._endings.give_up_waiting()
            if error.reason == PositionUnknown.reason:
                # The user service's database was restored, to a time before what we have heard.
                self._position = None
            self._tell_if_deaf(error)

    async def _read_ended(self) -> int:
        """Read what has ended while tokens live, and return after which position the feed tells the rest.

        That is the first page's: what ends while later pages are read may belong to an earlier one.
        """
        position, request = None, auth_pb2.ListEndingsRequest()
        while True:
            page = await self._source.list_endings(request)
            for session_id in page.session_ids:
                self._endings.end_session(UUID(bytes=session_id))
            for account in page.accounts:
                self._endings.end_tokens_before(UUID(bytes=account.user_id), account.version)
            position = page.position if position is None else position
            if not page.next_after:
                return position
            request = auth_pb2.ListEndingsRequest(after=page.next_after)

    async def _answers(self, position: int) -> AsyncGenerator[event_pb2.FollowResponse, None]:
        """Yield answers for as long as they come.

        Raises:
            Unavailable: none came for longer than the feed is ever silent.
        """
        request = event_pb2.FollowRequest(after_position=position, types=sorted(_ENDING))
        answers = aiter(self._source.follow(request))
        while True:
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    answer = await anext(answers)
            except StopAsyncIteration:
                return
            except TimeoutError:
                # Asked again over the same connection, whoever is frozen would be asked again.
                self._source.reconnect()
                raise Unavailable("the feed is silent") from None
            yield answer

    def _hear(self, answer: event_pb2.FollowResponse) -> None:
        for event in answer.events:
            # One that is not understood keeps nobody from the next.
            with outliving("an event was not understood, and ends no token", position=str(event.position)):
                _apply(self._endings, event.type, event.version, _unpacked(event))
        self._position = answer.position
        self._heard_at = self._told_at = time.monotonic()
        if answer.caught_up:
            self._endings.know()

    def _tell_if_deaf(self, error: ServiceError) -> None:
        now = time.monotonic()
        if now - self._told_at > _DEAF_SECONDS:
            self._told_at = now
            log.error(
                "ended sessions are not heard of: their access tokens go on working here",
                seconds=round(now - self._heard_at),
                code=error.code,
                reason=error.reason,
            )


def _unpacked(event: event_pb2.Event) -> Any:
    kind = _ENDING.get(event.type)
    if kind is None:
        return None
    data = kind()
    event.data.Unpack(data)
    return data


def _apply(endings: Endings, kind: str, version: int, data: Any) -> None:
    match kind:
        case "SessionEnded":
            endings.end_session(UUID(data.session_id))
        case "UserUpdated" if "roles" in data.changed_fields:
            endings.end_tokens_before(UUID(data.user_id), version)
        case "UserDeleted":
            endings.end_tokens_before(UUID(data.user_id), version)
