"""Codes: those of a device (TOTP, RFC 6238), and recovery codes. Nothing here is kept."""

import base64
import hashlib
import secrets
from datetime import datetime
from uuid import UUID

from cryptography.hazmat.primitives import constant_time
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP
from cryptography.hazmat.primitives.twofactor.totp import TOTP

# What every authenticator app reads, and many read nothing else: SHA-1, six digits, 30 seconds.
_SECRET_BYTES = 20
_DIGITS = 6
_STEP_SECONDS = 30
# Clocks of devices are off by so many steps at most, and people type for a while (RFC 6238, section 5.2).
_STEPS_OFF = 1
# 16 letters and digits of base32.
_RECOVERY_BYTES = 10


def new_secret() -> bytes:
    """Return as many random bits as SHA-1 has (RFC 4226, section 4)."""
    return secrets.token_bytes(_SECRET_BYTES)


def secret_text(secret: bytes) -> str:
    """Return a secret as it is typed into a device: base32."""
    return base64.b32encode(secret).decode()


def secret_uri(secret: bytes, account: str, shop: str) -> str:
    """Return a secret as an authenticator app reads it from a QR code."""
    totp = TOTP(secret, _DIGITS, SHA1(), _STEP_SECONDS)  # noqa: S303  RFC 6238; its collisions are of no use here
    return totp.get_provisioning_uri(account, shop)


def accepted_step(secret: bytes, code: str, *, now: datetime) -> int | None:
    """Return the time step whose code this is, if it is one of now."""
    hotp = HOTP(secret, _DIGITS, SHA1())  # noqa: S303  RFC 6238; its collisions are of no use here
    current = int(now.timestamp()) // _STEP_SECONDS
    steps = range(current - _STEPS_OFF, current + _STEPS_OFF + 1)
    # All are compared: how long it takes tells nothing.
    found = [step for step in steps if constant_time.bytes_eq(hotp.generate(step), code.encode())]
    return found[-1] if found else None


def new_recovery_code() -> str:
    """Return 80 random bits, as four groups of four letters and digits."""
    text = base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def hash_recovery_code(user_id: UUID, code: str) -> bytes:
    """Return what is kept of a recovery code, however it is typed. It is random: a fast hash suffices."""
    letters = "".join(filter(str.isalnum, code)).lower()
    return hashlib.sha256(user_id.bytes + letters.encode()).digest()
