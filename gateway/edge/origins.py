"""Origins of web pages that may read the edge's answers, written exactly as browsers write them.

Envoy compares the header `origin` with them letter by letter: what no browser writes would let nobody in.
"""

import re

from gateway.edge.errors import EdgeSettingsError

# RFC 6454, 6.2: no path, no user, nothing in capitals; the host in ASCII, or an IPv6 address.
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
# Left out by browsers where they are the scheme's own.
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_HIGHEST_PORT = 65535


def check_origin(text: str) -> None:
    """Pass over an origin as a browser writes it: `https://shop.example`, `http://localhost:3000`.

    Raises:
        EdgeSettingsError: no browser writes it so; every origin at once (`*`) is none either.
    """
    match = _ORIGIN.fullmatch(text)
    if match is None or int(match["port"] or 1) > _HIGHEST_PORT:
        raise EdgeSettingsError(
            f"{text!r} is no origin: write scheme://host or scheme://host:port, in small letters, "
            "without a path, and one by one"
        )
    if match["port"] == _DEFAULT_PORTS.get(match["scheme"], ""):
        raise EdgeSettingsError(f"browsers leave out the port of {text}: write {text.rpartition(':')[0]}")
