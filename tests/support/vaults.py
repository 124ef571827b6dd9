"""The keys of what is personal, for tests whose servicers run in this process."""

import tempfile
from pathlib import Path

from deploy.local.parts.keys import ensure_key_file
from services.user.privacy.keys import KeyFile
from services.user.privacy.vault import Vault

# Removed when the process ends.
_FOLDER = tempfile.TemporaryDirectory()


def make_key_file(folder: Path) -> Path:
    """Make a key file as `mesh up` does."""
    path = folder / "personal_keys"
    ensure_key_file(path)
    return path


VAULT = Vault(KeyFile(make_key_file(Path(_FOLDER.name))))
