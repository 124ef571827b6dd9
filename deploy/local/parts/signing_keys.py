"""The keys that sign tokens, over time: a new one is published, signs a while later, and goes last of all.

The file is that of services/user/sessions/keys.py, whose readers take it over as it is replaced.
"""

import itertools
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from deploy.local.files import replace_file

# Who verifies has the next key by then: the edge reads the keys every 10 seconds, our services as soon as
# they meet one that they do not know; others may keep what they have read for a minute, and what the edge has
# kept for them is as old.
PUBLISHED_BEFORE = timedelta(minutes=3)
# Access tokens live for 15 minutes, and clocks differ.
KEPT_AFTER = timedelta(minutes=20)
# A key that was stolen and not missed is of no use after this.
LIFETIME = timedelta(days=30)
_BLOCK = re.compile(
    r"(?:^Signs-From: (\S+)\s+)?(^-----BEGIN [^\n]+-----$.*?^-----END [^\n]+-----$)", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class _Entry:
    signs_from: datetime
    pem: str


def rotate(path: Path, now: datetime) -> datetime | None:
    """Publish another key, and return from when on it signs; None while one waits to sign already."""
    entries = _read(path)
    if entries[-1].signs_from > now:
        return None
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signs_from = now + PUBLISHED_BEFORE
    _write(path, [*_needed(entries, now), _Entry(signs_from, key.decode().strip())])
    return signs_from


def keep(path: Path, now: datetime) -> None:
    """Drop the keys whose tokens are over, and rotate where the one that signs is old."""
    entries = _read(path)
    needed = _needed(entries, now)
    if len(needed) < len(entries):
        _write(path, needed)
    if needed[-1].signs_from + LIFETIME <= now:
        rotate(path, now)


def _needed(entries: list[_Entry], now: datetime) -> list[_Entry]:
    """Leave out each key whose successor has signed for longer than its tokens live."""
    followed = itertools.pairwise(entries)
    over = {each.pem for each, successor in followed if successor.signs_from + KEPT_AFTER <= now}
    return [each for each in entries if each.pem not in over]


def _read(path: Path) -> list[_Entry]:
    """Read the file; a key without a time signs since the file was made."""
    made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    text = path.read_text(encoding="ascii")
    found = _BLOCK.findall(text)
    entries = [_Entry(datetime.fromisoformat(time) if time else made, pem) for time, pem in found]
    return sorted(entries, key=lambda each: each.signs_from)


def _write(path: Path, entries: list[_Entry]) -> None:
    text = "".join(f"Signs-From: {each.signs_from.isoformat()}\n{each.pem}\n" for each in entries)
    replace_file(path, text)
