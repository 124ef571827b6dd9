"""Commands to Valkey by hand: its wheel brings the server, and no client."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from deploy.local.errors import MeshError


def answers(address: str, password: str, commands: Iterable[Sequence[str]]) -> Iterator[str]:
    """Give commands one after the other and yield what is answered, line by line.

    Raises:
        MeshError: a command was refused, and the ones behind it were not given; or nobody answers.
    """
    host, _, port = address.rpartition(":")
    once = Retry(NoBackoff(), retries=0)
    with Redis(host=host, port=int(port), password=password, decode_responses=True, retry=once) as client:
        for command in filter(None, commands):
            try:
                yield from _lines(client.execute_command(*command))
            except RedisError as error:
                raise MeshError(f"{command[0]}: {error}", "See https://valkey.io/commands/.") from error


def _lines(answer: Any) -> Iterator[str]:
    if isinstance(answer, list | tuple | set):
        for each in answer:
            yield from _lines(each)
    elif answer is None:
        yield "(nil)"
    else:
        yield answer if isinstance(answer, str) else json.dumps(answer, default=str)
