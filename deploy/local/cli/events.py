"""Reading the feeds of the services: `mesh events`."""

import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import grpc

from deploy.local.cli import methods
from deploy.local.cli.call import print_line
from deploy.local.cli.running import running_mesh
from deploy.local.errors import MeshError
from deploy.local.shop import clients, json_calls
from services.roster import NAMES

_FOLLOW = "commerce.event.v1.EventFeed/Follow"
_RETRY_SECONDS = 0.5
# Events that wait for a slow terminal; behind them the feeds wait, and lose nothing.
_MOST_UNPRINTED = 1000


@dataclass(frozen=True)
class _Feed:
    """The feed of one service, read with the operator's certificate."""

    data: Path
    service: str

    @contextmanager
    def open(self) -> Iterator[grpc.Channel]:
        """Open a channel that shows the newest certificate."""
        mesh = running_mesh(self.data)
        files = mesh.operator
        with clients.service_channel(mesh.layout, self.service, files) as channel:
            yield channel

    def recorded(self, after: int, count: int) -> list[Any]:
        """Return the first events behind a position, of those that are there now.

        Raises:
            Refused: the position is past the head, or the service is away.
        """
        with self.open() as channel:
            answers = _read(channel, after, to_the_head=True)
            return list(itertools.islice((event for answer in answers for event in answer.events), count))

    def head(self) -> int:
        """Find the last position without reading what stands before it: the feed has no gaps."""
        with self.open() as channel:
            beyond = 1
            while _reaches(channel, beyond):
                beyond *= 2
            head = beyond // 2
            while beyond - head > 1:
                middle = (head + beyond) // 2
                head, beyond = (middle, beyond) if _reaches(channel, middle) else (head, middle)
            return head


def _read(channel: grpc.Channel, after: int, *, to_the_head: bool) -> Iterator[Any]:
    method = methods.find(_FOLLOW)
    request = json.dumps({"afterPosition": after, "untilCaughtUp": to_the_head})
    return json_calls.call(channel, method, json_calls.read_requests(method, request), ())


def _reaches(channel: grpc.Channel, position: int) -> bool:
    try:
        next(_read(channel, position, to_the_head=True))
    except json_calls.Refused as refused:
        if refused.reason != "POSITION_UNKNOWN":
            raise
        return False
    return True


def events(data: Path, service: str | None, *, follow: bool, after: int | None, lines: int) -> None:
    """Print events, a line each: the last ones, or the first ones behind a position; then what comes.

    Raises:
        MeshError: there is no such service, or no such position.
    """
    if service is not None and service not in NAMES:
        raise MeshError(f"There is no service {service}.", f"The services are {', '.join(NAMES)}.")
    if service is None and after is not None:
        raise MeshError("A position is one of a service.", "Name it: `mesh events order --after 10`.")
    feeds = {
        feed: max(feed.head() - lines, 0) if after is None else after
        for feed in (_Feed(data, name) for name in ([service] if service else NAMES))
    }
    if follow:
        _follow(feeds)
    else:
        _print_recorded(feeds, lines)


def _print_recorded(feeds: dict[_Feed, int], lines: int) -> None:
    found = [feed.recorded(after, lines + 1) for feed, after in feeds.items()]
    for event in sorted(itertools.chain(*(each[:lines] for each in found)), key=_time):
        print_line(json_calls.to_json(event))
    for each in found:
        if len(each) > lines > 0:
            sys.stderr.write(f"There are more: --after {each[lines - 1].position}, or -n for more lines.\n")


def _time(event: Any) -> int:
    return int(event.occur_time.ToNanoseconds())


def _follow(feeds: dict[_Feed, int]) -> None:
    told: Queue[str | MeshError] = Queue(_MOST_UNPRINTED)
    for feed, after in feeds.items():
        threading.Thread(target=_tell, args=(feed, after, told), daemon=True).start()
    while not isinstance(line := told.get(), MeshError):
        print_line(line)
    raise line


def _tell(feed: _Feed, position: int, told: "Queue[str | MeshError]") -> None:
    """Pass on what happens; a service that restarts is read on from where it was."""
    while True:
        try:
            with feed.open() as channel:
                for answer in _read(channel, position, to_the_head=False):
                    for event in answer.events:
                        told.put(json_calls.to_json(event))
                    position = answer.position
        except json_calls.Refused as refused:
            if refused.code is not grpc.StatusCode.UNAVAILABLE:
                told.put(refused)
                return
        except MeshError as error:
            told.put(error)
            return
        time.sleep(_RETRY_SECONDS)
