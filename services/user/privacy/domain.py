"""What is personal of an account, to be read and as rows keep it. No I/O, no keys."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.user.accounts.emails import CanonicalEmail, canonical_email


@dataclass(frozen=True)
class Personal:
    """What is personal of an account, to be read."""

    # As the person wrote it.
    email: str
    display_name: str

    @property
    def canonical_email(self) -> CanonicalEmail:
        """What no two open accounts share."""
        return canonical_email(self.email)


class DataKey(NamedTuple):
    """A person's data key, as it is kept: wrapped by a key that is not in the database."""

    user_id: UUID
    key_version: int
    wrapped_key: bytes


@dataclass(frozen=True)
class Sealed:
    """The same, encrypted under the person's data key."""

    user_id: UUID
    key_version: int
    wrapped_key: bytes
    email: bytes
    display_name: bytes

    @property
    def data_key(self) -> DataKey:
        """Under which it is encrypted."""
        return DataKey(self.user_id, self.key_version, self.wrapped_key)


@dataclass(frozen=True)
class Digest:
    """What an address is found by under one index key: 32 bytes that tell nobody without the key."""

    key_version: int
    digest: bytes


@dataclass(frozen=True)
class Erasure:
    """That a person was erased. Nothing personal: the id leads to nobody."""

    user_id: UUID
    erase_time: datetime
