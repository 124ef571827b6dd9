"""Keys and erasures of a running mesh: `mesh keys`, `mesh erasures`."""

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from commerce.user.v1 import privacy_pb2, privacy_pb2_grpc
from rich.console import Console
from rich.table import Table

from deploy.local.cli.running import running_mesh
from deploy.local.cli.signing import JWKS
from deploy.local.errors import MeshError
from deploy.local.files import replace_file
from deploy.local.parts.keys import PERSONAL_KEYS, new_version, without_versions_before
from deploy.local.shop import clients, json_calls

_SECONDS = 10.0
_POLL_SECONDS = 0.5
# Longer than a process of the service takes to see that the file was replaced.
_SEEN_SECONDS = 3.0
# A million accounts take some twenty minutes.
_PATIENCE_SECONDS = 7200.0
# What the contract takes at once.
_AT_ONCE = 100
PURPOSES = ("kek", "data", "index")


def list_keys(data: Path, console: Console) -> None:
    """Show each version of the keys, and how many rows need it."""
    with _service(data) as call:
        answer = call("ListKeyVersions", privacy_pb2.ListKeyVersionsRequest())
    table = Table("key", "version", "rows", "in the file", box=None)
    for each in answer.versions:
        table.add_row(each.purpose, str(each.version), str(each.row_count), "yes" if each.is_known else "no")
    console.print(table)
    console.print(f"accounts that the newest index key does not find yet: {answer.unindexed_count}")
    console.print(f"accounts that are not encrypted yet: {answer.plain_count}")
    for each in answer.unreadable:
        console.print(f"no key opens {each.purpose} of {each.user_id}", highlight=False)


def rotate(data: Path, purpose: str, console: Console) -> None:
    """Add a version of a key, wait until nothing needs the old ones, and take them out of the file.

    Whatever ends it, running it again goes on from there, under one version more.

    Raises:
        MeshError: there is no such key, another rotation runs, it took too long, or some rows cannot be read.
            All others have moved then, and the older keys stay in the file.
    """
    if purpose not in PURPOSES:
        raise MeshError(f"There is no key called {purpose}.", f"Name one of {', '.join((*PURPOSES, JWKS))}.")
    layout = running_mesh(data).layout
    with _alone(layout.rotation_lock):
        _rotate(data, layout.secret(PERSONAL_KEYS), purpose, console)


def _rotate(data: Path, path: Path, purpose: str, console: Console) -> None:
    text, version = new_version(path.read_text(encoding="ascii"), purpose)
    replace_file(path, text)
    console.print(f"{purpose} {version} is in use; rows move to it.")
    # Until every process writes under the new one: what is counted before that may still grow.
    time.sleep(_SEEN_SECONDS)
    answer = _await(
        data, lambda answer: _rows_left(answer, purpose, version) == len(_unreadable(answer, purpose))
    )
    if unreadable := _unreadable(answer, purpose):
        raise MeshError(
            f"No key opens {purpose} of {len(unreadable)} people: {', '.join(unreadable)}. "
            "All other rows have moved.",
            "Put a key that is missing back into the file, or erase these people, and run it again; "
            "the older keys stay in the file until then.",
        )
    # As it is now, and not as it was: a key that came meanwhile, by whatever hand, may open rows.
    replace_file(path, without_versions_before(path.read_text(encoding="ascii"), purpose, version))
    if purpose == "index":
        _await(data, lambda answer: _rows_before(answer, purpose, version) == 0)
    console.print(f"0 rows need an older version; it has left {path}.")


@contextmanager
def _alone(lock_file: Path) -> Iterator[None]:
    """Let one rotation at a time change the keys: of two, one would take the other's key out of them."""
    with lock_file.open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MeshError(
                "Another rotation of these keys runs.",
                "Run this again when it has ended; `mesh keys list` shows it.",
            ) from None
        yield


def export(data: Path, file: Path, console: Console) -> None:
    """Write who was erased to a file, a line of JSON each."""
    lines, token = [], ""
    with _service(data) as call:
        while True:
            request = privacy_pb2.ListErasuresRequest(page_size=_AT_ONCE, page_token=token)
            answer = call("ListErasures", request)
            lines += [
                json.dumps({"userId": each.user_id, "eraseTime": each.erase_time.ToJsonString()})
                for each in answer.erasures
            ]
            token = answer.next_page_token
            if not token:
                break
    replace_file(file, "".join(f"{line}\n" for line in lines))
    console.print(f"{len(lines)} erasures are in {file}.")


def replay(data: Path, file: Path, console: Console) -> None:
    """Erase who was erased before, after a backup that is older was restored; it may be repeated.

    Raises:
        MeshError: the file is none of `mesh erasures export`.
    """
    try:
        ids = [json.loads(line)["userId"] for line in file.read_text(encoding="utf-8").splitlines()]
        erasures = [privacy_pb2.Erasure(user_id=each) for each in ids]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MeshError(f"{file} is no file of erasures.", "Name one of `mesh erasures export`.") from error
    erased = 0
    with _service(data) as call:
        for first in range(0, len(erasures), _AT_ONCE):
            request = privacy_pb2.ReplayErasuresRequest(erasures=erasures[first : first + _AT_ONCE])
            erased += call("ReplayErasures", request).erased_count
    console.print(f"{erased} of {len(erasures)} were there again and are erased.")


@contextmanager
def _service(data: Path) -> Iterator[Callable[[str, Any], Any]]:
    """Open the user service as the operator; what it yields calls a method."""
    mesh = running_mesh(data)
    with clients.service_channel(mesh.layout, "user", mesh.operator) as channel:
        stub = privacy_pb2_grpc.PrivacyServiceStub(channel)  # type: ignore[no-untyped-call, unused-ignore]

        def call(method: str, request: Any) -> Any:
            try:
                return getattr(stub, method)(request, timeout=_SECONDS)
            except grpc.RpcError as error:
                raise json_calls.Refused(error) from error

        yield call


def _await(data: Path, is_done: Callable[[Any], bool]) -> Any:
    """Return the first answer that says it is done."""
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        with _service(data) as call:
            answer = call("ListKeyVersions", privacy_pb2.ListKeyVersionsRequest())
        if is_done(answer):
            return answer
        time.sleep(_POLL_SECONDS)
    raise MeshError(
        "Not all rows have moved yet.", "See `mesh keys list` and `mesh logs user`; run it again."
    )


def _rows_left(answer: Any, purpose: str, version: int) -> int:
    """Count the rows that keep an older version from going."""
    if purpose == "index":
        # The old rows stay until their key has left the file: a process that has not seen the new one finds
        # people by them.
        return int(answer.unindexed_count)
    return _rows_before(answer, purpose, version)


def _unreadable(answer: Any, purpose: str) -> list[str]:
    return [each.user_id for each in answer.unreadable if each.purpose == purpose]


def _rows_before(answer: Any, purpose: str, version: int) -> int:
    return sum(
        each.row_count for each in answer.versions if each.purpose == purpose and each.version < version
    )
