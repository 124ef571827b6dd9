"""What a session is called in its owner's list."""

from typing import Any

import grpc

from services.roster import EDGE
from services.rpc.identity import calling_service

# The browsers' own are about 120 characters.
_MOST_CHARACTERS = 200


def device_of(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    """Return what the program at the edge says it is: its own word, which nothing is decided by.

    Printable ASCII alone (RFC 9110, section 10.1.5), so that nobody's list can be made to look like another.
    """
    if calling_service() != EDGE:
        return ""
    said = next((str(value) for key, value in context.invocation_metadata() or () if key == "user-agent"), "")
    return "".join(each for each in said if " " <= each <= "~")[:_MOST_CHARACTERS].strip()
