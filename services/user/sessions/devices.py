"""What a session is called in its owner's list."""

# The browsers' own are about 120 characters.
_MOST_CHARACTERS = 200


def device_of(user_agent: str) -> str:
    """Return a name for what a program says it is: its own word, by which nothing is decided.

    Printable ASCII alone (RFC 9110, section 10.1.5), so that nobody's list can be made to look like another.
    """
    return "".join(each for each in user_agent if " " <= each <= "~")[:_MOST_CHARACTERS].strip()
