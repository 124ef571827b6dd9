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
