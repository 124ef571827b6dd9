"""EventFeed: the log of storage/events.py as a stream of messages."""

import time
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Any

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import Message

from services.errors import PositionUnknown
from services.storage.events import EventLog, RecordedEvent
from services.storage.paging import give_way

# Readers notice by it that a process is frozen, and have five seconds for that and for what follows. Less
# than the wait for more events, so that each of its ends sends one.
_HEARTBEAT_SECONDS = 0.9


class EventFeedServicer(event_pb2_grpc.EventFeedServicer):
    """Serves a log as commerce.event.v1.EventFeed."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log

    def Follow(
        self, request: event_pb2.FollowRequest, _: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[event_pb2.FollowResponse]:
        """Stream the log to another service."""
        return self.follow(request)

    async def follow(self, request: event_pb2.FollowRequest) -> AsyncIterator[event_pb2.FollowResponse]:
        """Stream everything after a position, or of the last time, then what comes.

        Raises:
            PositionUnknown: the position is past the head of the log.
        """
        position = request.after_position
        if request.HasField("max_age"):
            position = await self._log.position_before(request.max_age.ToTimedelta())
        if position > await self._log.head():
            raise PositionUnknown("after_position is past the head of the log")
        told_at, was_caught_up = float("-inf"), False
        wanted = frozenset(request.types)
        while True:
            moved = self._log.moved
            events, caught_up = await self._log.read(position)
            position = events[-1].position or position if events else position
            # A full page may have been the last: then the reader has still to hear that it was.
            told = [event for event in events if event.type in wanted] if wanted else events
            is_news = bool(told) or caught_up != was_caught_up
            if is_news or time.monotonic() - told_at > _HEARTBEAT_SECONDS:
                yield await self._response(told, position, caught_up)
                told_at, was_caught_up = time.monotonic(), caught_up
            if caught_up and request.until_caught_up:
                return
            if caught_up:
                await self._log.more(moved)

    async def _response(
        self, events: Sequence[RecordedEvent], position: int, caught_up: bool
    ) -> event_pb2.FollowResponse:
        response = event_pb2.FollowResponse(position=position, caught_up=caught_up)
        for place, event in enumerate(events, 1):
            await give_way(place)
            response.events.append(to_message(event, self._log.source))
        return response


def to_message(event: RecordedEvent, source: str) -> event_pb2.Event:
    """Return the contract's envelope around an event of the service `source`.

    Its data becomes the message commerce.`source`.v1.`type`.
    """
    data = json_format.ParseDict(dict(event.data), _message_class(f"commerce.{source}.v1.{event.type}")())
    message = event_pb2.Event(
        position=event.position or 0,
        event_id=str(event.event_id),
        source=source,
        stream=event.stream,
        version=event.version,
        type=event.type,
        occur_time=event.occur_time,
    )
    message.data.Pack(data)
    return message


@cache
def _message_class(full_name: str) -> type[Message]:
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(full_name))
