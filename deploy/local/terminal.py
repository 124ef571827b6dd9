"""What data may not do to the terminal that shows it."""

import re

# C0 but for tab and line feed, DEL, C1, and the marks that turn text around: a terminal obeys the ones, and
# shows the others' text as another. Lone surrogates cannot be written at all.
_ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """Return a text with what a terminal would act on, or could not write, as JSON escapes it."""
    return _ACTS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
