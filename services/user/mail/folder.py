"""Mails as files in a folder, in place of a mail server, on a laptop. `mesh mail` reads them."""

import asyncio
import os
from email.message import EmailMessage
from pathlib import Path
from uuid import uuid4

from services.user.mail.mailers import MailFailed

# The oldest go: some megabytes, and more than anybody scrolls through.
MOST_FILES = 1_000
_SUFFIX = ".eml"


class FolderMailer:
    """Writes a file a mail (RFC 5322), which only its owner reads: it holds a token.

    A mail that is sent again replaces its file: the name is made of its Message-ID, which begins with a
    UUIDv7, so that names are in the order of time.
    """

    def __init__(self, folder: Path, most_files: int = MOST_FILES) -> None:
        self._folder = folder
        self._most_files = most_files

    async def send(self, message: EmailMessage, address: str) -> None:
        """Write a mail; the address stands in it."""
        try:
            await asyncio.to_thread(self._write, message)
        except OSError as error:
            raise MailFailed(type(error).__name__) from error

    def _write(self, message: EmailMessage) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # It may have been made by hand.
        self._folder.chmod(0o700)
        name = str(message["Message-ID"]).strip("<>").partition("@")[0]
        unfinished = self._folder / f".{name}.{uuid4().hex}"
        try:
            with open(unfinished, "xb", opener=_private) as file:
                file.write(message.as_bytes())
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(self._folder / f"{name}{_SUFFIX}")
        finally:
            unfinished.unlink(missing_ok=True)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        names = sorted(path for path in self._folder.iterdir() if path.suffix == _SUFFIX)
        for path in names[: -self._most_files]:
            # Another process of the service may have been quicker.
            path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
