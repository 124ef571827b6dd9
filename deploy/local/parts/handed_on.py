"""Options of `mesh up` that a service takes as they are."""

from collections.abc import Callable
from typing import TypeVar

from deploy.local.errors import MeshError

_Read = TypeVar("_Read")


def checked(text: str, option: str, read: Callable[[str], _Read]) -> _Read:
    """Refuse now what the service would refuse once everything else has started.

    Args:
        text: What was given.
        option: Its name among the options: `mail_sender`.
        read: How the service reads it.

    Raises:
        MeshError: it would not.
    """
    try:
        return read(text)
    except ValueError as error:
        flag = f"--{option.replace('_', '-')}"
        raise MeshError(f"{flag} {error}: {text}", f"Call `mesh up` with another {flag}.") from None
