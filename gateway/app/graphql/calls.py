"""The calls that answer one query: with its caller's token, within its time, many ids in one."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from gateway.app.graphql.refusals import QueryTooLarge
from gateway.app.graphql.turns import Later, Turns
from services.errors import ServiceError
from services.telemetry.metadata import Metadata

# Of an answer: its texts, and the names that they stand under. A page of 100 products whose descriptions are
# as long as the contract lets them be has a million.
MOST_CHARACTERS = 1_500_000
Call: TypeAlias = Callable[..., Awaitable[Any]]
_Found: TypeAlias = Message | ServiceError


def open_calls(channel: aio.Channel, methods: Sequence[MethodDescriptor]) -> dict[str, Call]:
    """Return what calls each method, by its full name."""
    return {method.full_name: _call(channel, method) for method in methods}


def _call(channel: aio.Channel, method: MethodDescriptor) -> Call:
    path = f"/{method.containing_service.full_name}/{method.name}"
    response = GetMessageClass(method.output_type)
    call: Call = channel.unary_unary(
        path,
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=response.FromString,
    )
    return call


@dataclass(frozen=True)
class BatchedMethod:
    """A method that takes many ids and answers with one message for each (AIP-231)."""

    method: MethodDescriptor
    # At once, as the contract has it.
    most_ids: int

    def request(self, ids: Sequence[str]) -> Message:
        """Return the request for these."""
        kind = self.method.input_type
        return GetMessageClass(kind)(**{kind.fields[0].name: ids})

    def answers(self, response: Message) -> Sequence[Message]:
        """Return the messages of an answer."""
        answers: Sequence[Message] = getattr(response, self.method.output_type.fields[0].name)
        return answers


@dataclass(frozen=True)
class _Batch:
    """Ids that are asked for together, each once, and what is found."""

    ids: dict[str, None]
    found: "asyncio.Task[dict[str, _Found]]"


class Calls:
    """The calls of one query.

    Args:
        calls: By the method's full name.
        metadata: Of each: whose call it is.
        tasks: Ends with the query.
    """

    def __init__(self, calls: Mapping[str, Call], metadata: Metadata, tasks: asyncio.TaskGroup) -> None:
        self._calls = calls
        self._metadata = metadata
        self._tasks = tasks
        self._batches: dict[str, _Batch] = {}
        self.turns = Turns()
        # How many there were.
        self.count = 0
        self._characters = 0

    def tell(self, name: str, value: object) -> None:
        """Count what a field adds to the answer: a short query may ask for a long text many times."""
        self._characters += len(name) + _length(value)

    def check_answer(self) -> None:
        """Check that an answer may go on, or be sent.

        Raises:
            QueryTooLarge: it is more than an answer may have.
        """
        if self._characters > MOST_CHARACTERS:
            raise QueryTooLarge("characters in its answer", MOST_CHARACTERS)

    async def call(self, method: MethodDescriptor, request: Message) -> Any:
        """Make one call.

        Raises:
            ServiceError: it was refused, or failed.
        """
        self.count += 1
        return await self._calls[method.full_name](request, metadata=self._metadata)

    def load(self, batched: BatchedMethod, wanted: str) -> Awaitable[Message]:
        """Ask for one of many; the others that are wanted by now are asked for in the same call."""
        name = batched.method.full_name
        batch = self._batches.get(name)
        if batch is None:
            asked: dict[str, None] = {}
            batch = _Batch(asked, self._tasks.create_task(self._ask(batched, asked)))
            self._batches[name] = batch
        batch.ids[wanted] = None
        return Later(partial(self._found, batch, wanted))

    async def _found(self, batch: "_Batch", wanted: str) -> Message:
        found = (await batch.found)[wanted]
        # All of the batch are here at once.
        await self.turns.take(None)
        if isinstance(found, ServiceError):
            raise found
        return found

    async def _ask(self, batched: BatchedMethod, asked: dict[str, None]) -> dict[str, _Found]:
        await self.turns.settled()
        del self._batches[batched.method.full_name]
        ids = list(asked)
        pieces = [ids[start : start + batched.most_ids] for start in range(0, len(ids), batched.most_ids)]
        answers = await asyncio.gather(*(self._ask_for(batched, piece) for piece in pieces))
        return {each: answer for answered in answers for each, answer in answered.items()}

    async def _ask_for(self, batched: BatchedMethod, ids: Sequence[str]) -> Mapping[str, _Found]:
        try:
            response = await self.call(batched.method, batched.request(ids))
        except ServiceError as error:
            return dict.fromkeys(ids, error)
        return dict(zip(ids, batched.answers(response), strict=True))


def _length(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + len(each) for key, each in value.items())
    if isinstance(value, list):
        return sum(len(each) for each in value if isinstance(each, str))
    return 0
