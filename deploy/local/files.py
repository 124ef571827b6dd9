"""Files as the local stack writes them: private, and whole or not at all."""

import os
import secrets
import tempfile
from pathlib import Path

_SECRET_BYTES = 32


def make_private_folder(folder: Path) -> Path:
    """Make a folder that only its owner enters. An existing one is left as it is."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def replace_file(path: Path, content: str | bytes, *, mode: int = 0o600, durable: bool = True) -> Path:
    """Move a file into place whole, which is also what makes its watchers reload it.

    What is not `durable` may be lost with the machine's power, and costs no wait for the disk.
    """
    raw = content.encode() if isinstance(content, str) else content
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if durable:
                os.fsync(file.fileno())
        Path(unfinished).rename(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    return path


def ensure_secret(path: Path) -> str:
    """Read a secret, made at random the first time."""
    if not path.exists():
        replace_file(path, secrets.token_urlsafe(_SECRET_BYTES))
    return path.read_text(encoding="utf-8").strip()
