"""`mesh mail` shows what was sent, the newest first, and does nothing that a mail says to a terminal."""

import asyncio
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from deploy.local.cli import mail as command
from deploy.local.errors import MeshError
from deploy.local.layout import Layout
from deploy.local.supervision.state import MeshState, write_state
from services.user.mail.domain import Kind, Mail
from services.user.mail.folder import FolderMailer
from services.user.mail.letters import Letters
from tests.support.stack import MESH
from tests.support.waiting import PATIENCE_SECONDS

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


async def send(data: Path, number: int, address: str, product: str = "Shop") -> None:
    # Names are in the order of time because ids are.
    mail = Mail(UUID(int=number), Kind.CONFIRM_EMAIL, uuid4(), address, NOW, NOW, 0)
    letter = Letters(product, "no-reply@shop.example", None).write(mail, f"{number:064d}")
    await FolderMailer(Layout(data).mail).send(letter, address)


def shown(
    capsys: pytest.CaptureFixture[str], data: Path, *, to: str | None = None, count: int = 10
) -> list[str]:
    """Show mails, and return the tokens in them as they came."""
    command.mail(data, to=to, count=count, follow=False)
    lines = (line.strip() for line in capsys.readouterr().out.splitlines())
    return [line.lstrip("0") for line in lines if len(line) == 64 and line.isdigit()]


async def test_the_newest_come_first_and_no_more_than_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for number in range(1, 6):
        await send(tmp_path, number, f"{'ada' if number % 2 else 'ben'}@example.com")
    assert shown(capsys, tmp_path) == ["5", "4", "3", "2", "1"]
    assert shown(capsys, tmp_path, count=2) == ["5", "4"]
    assert shown(capsys, tmp_path, to="BEN@example.com") == ["4", "2"]
    assert shown(capsys, tmp_path, to="ada@example.com", count=1) == ["5"]
    assert shown(capsys, tmp_path, to="nobody@example.com") == []


async def test_what_a_mail_says_to_the_terminal_is_written_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    await send(tmp_path, 1, "ada@example.com")
    (path,) = Layout(tmp_path).mail.glob("*.eml")
    path.write_bytes(path.read_bytes().replace(b"An account", b"An \x1b]0;t\x07account"))
    command.mail(tmp_path, to=None, count=1, follow=False)
    out = capsys.readouterr().out
    assert "\\u001b]0;t\\u0007account" in out
    assert "\x1b" not in out


def test_without_a_mail_nothing_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert shown(capsys, tmp_path) == []


def test_a_mesh_whose_mails_go_elsewhere_says_where(tmp_path: Path) -> None:
    state = MeshState(1, 1, "", True, 0, 1, "", options={"smtp_url": "smtp://me@mail.example"})
    write_state(Layout(tmp_path).state, state)
    with pytest.raises(MeshError, match=r"smtp://me@mail\.example"):
        command.mail(tmp_path, to=None, count=1, follow=False)


def test_mails_that_come_are_shown_while_one_looks_on(tmp_path: Path) -> None:
    asyncio.run(send(tmp_path, 1, "ada@example.com"))
    program = [sys.executable, str(MESH), "mail", "-f", "--to", "ada@example.com", "--data", str(tmp_path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        seen: list[str] = []

        def read() -> None:
            assert process.stdout is not None
            seen.extend(process.stdout)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            await_line(seen, f"{1:064d}")
            asyncio.run(send(tmp_path, 2, "ben@example.com"))
            asyncio.run(send(tmp_path, 3, "ada@example.com"))
            await_line(seen, f"{3:064d}")
        finally:
            process.terminate()
            reader.join(PATIENCE_SECONDS)
    assert f"{2:064d}" not in "".join(seen)


def await_line(seen: list[str], text: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while text not in "".join(seen):
        assert time.monotonic() < give_up_at, seen
        time.sleep(0.02)
