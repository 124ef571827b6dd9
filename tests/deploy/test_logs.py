"""`mesh logs` tells what all parts print in the order of time, and one call's lines by its id."""

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.cli.logs import show, show_call
from deploy.local.errors import MeshError

TRACE = "0af7651916cd43dd8448eb211c80319c"
# As each part writes them, by name and not by time; Valkey and Envoy on a clock in New York.
LINES = {
    "edge.log": ["[2026-01-01 07:00:03.000][1][warning][jwt] 3"],
    "edge-access.log": [f'{{"time":"2026-01-01T12:00:04.000Z","trace_id":"{TRACE}","n":4}}'],
    "mesh.log": ["2026-01-01T12:00:01Z INFO 1", "a line without a time 1b"],
    "postgres.log": ["2026-01-01 12:00:02.500 UTC [1] LOG:  2"],
    "user.log": [f'{{"trace_id":"{TRACE}","timestamp":"2026-01-01T12:00:05.000001+00:00"}} 5'],
    "user.log.1": [f'{{"trace_id": "{TRACE}", "timestamp": "2026-01-01T12:00:00.500000Z"}} 0b'],
    "valkey.log": ["10:M 01 Jan 2026 07:00:00.000 * 0"],
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "logs").mkdir()
    for name, lines in LINES.items():
        (tmp_path / "logs" / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
    with monkeypatch.context() as in_new_york:
        in_new_york.setenv("TZ", "America/New_York")
        time.tzset()
        yield tmp_path
    time.tzset()


def test_lines_of_all_parts_come_in_the_order_of_time(data: Path) -> None:
    told = printed(lambda console: show(data, console, None, lines=9, follow=False))
    assert [line.split()[0] for line in told] == [
        "valkey",
        *["mesh"] * 2,
        "postgres",
        "edge",
        "edge-access",
        "user",
    ]
    assert told[1:3] == ["mesh         2026-01-01T12:00:01Z INFO 1", "mesh         a line without a time 1b"]


def test_lines_of_one_part_are_told_as_they_are(data: Path) -> None:
    told = printed(lambda console: show(data, console, "user", lines=9, follow=False))
    assert told == LINES["user.log"]


def test_a_call_is_told_by_all_that_was_kept_of_it(data: Path) -> None:
    told = printed(lambda console: show_call(data, console, TRACE))
    assert [line.split()[0] for line in told] == ["user", "edge-access", "user"]


def test_a_part_of_an_id_names_no_call(data: Path) -> None:
    with pytest.raises(MeshError, match="No log tells of"):
        printed(lambda console: show_call(data, console, TRACE[:-1]))


def printed(show_them: Callable[[Console], None]) -> list[str]:
    out = io.StringIO()
    show_them(Console(file=out, highlight=False, soft_wrap=True))
    return out.getvalue().splitlines()
