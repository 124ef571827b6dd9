"""The one canonical form of an e-mail address: what is stored, looked up, throttled and compared."""

import string
from typing import NewType

# Made by `canonical_email` alone, so that the type checker finds every comparison of another spelling.
CanonicalEmail = NewType("CanonicalEmail", str)

# Not str.lower(): it makes two characters of "İ" (U+0130) where PostgreSQL makes one. Of ASCII there is
# one lower case on every system.
_LOWER_CASE = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def canonical_email(address: str) -> CanonicalEmail:
    """Return the form that names an account: the address with its ASCII letters in lower case.

    The contract lets in what the HTML standard calls a valid e-mail address (section 4.10.5.1.5): ASCII,
    with no quoting, comments, folding or trailing dot, and with internationalised domains as A-labels
    (RFC 5890, section 2.3.2.1). In such an address only the letters' case can be written in two ways.
    Domains ignore case (RFC 5321, section 2.4). Local parts may keep it, but nobody gives "Ada" and "ada" to
    two people, and an account for each would let one pass for the other.

    Addresses with other characters (RFC 6531) are refused by the contract: their canonical form would hang on
    Unicode's version and on the place where it is made.
    """
    return CanonicalEmail(address.translate(_LOWER_CASE))


def masked_email(email: str) -> str:
    """Return what whoever may not read an address gets of it: enough to see that two are not one."""
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}…@{domain}"


def mailbox_of(email: CanonicalEmail) -> CanonicalEmail:
    """Return the address without its tag: "ada+shop@example.com" lands where "ada@example.com" does.

    Good for counting alone: some servers give both to two people.
    """
    local, _, domain = email.rpartition("@")
    return CanonicalEmail(f"{local.partition('+')[0] or local}@{domain}")
