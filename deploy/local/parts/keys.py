"""The file of the keys above what is personal of people, as services/user/privacy/keys.py reads it."""

import base64
import secrets
from pathlib import Path

from deploy.local.files import replace_file

# Its name among the secrets.
PERSONAL_KEYS = "personal_keys"
_KEY_BYTES = 32


def ensure_key_file(path: Path) -> None:
    """Make the first version of each key, unless the file is there.

    Whoever loses it loses what is personal with it.
    """
    if not path.exists():
        replace_file(path, f"kek 1 {new_key()}\nindex 1 {new_key()}\ndata 1\n")


def new_key() -> str:
    """Return a key at random."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def new_version(text: str, purpose: str) -> tuple[str, int]:
    """Return a key file with one version more of a key, and which that is."""
    version = max(int(line.split()[1]) for line in _lines(text, purpose)) + 1
    key = "" if purpose == "data" else f" {new_key()}"
    return f"{text}{purpose} {version}{key}\n", version


def without_versions_before(text: str, purpose: str, version: int) -> str:
    """Return a key file without the versions of a key before one."""
    old = [line for line in _lines(text, purpose) if int(line.split()[1]) < version]
    return "".join(f"{line}\n" for line in text.splitlines() if line not in old)


def _lines(text: str, purpose: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"{purpose} ")]
