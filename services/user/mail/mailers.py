"""What sends a mail: the interface of its two implementations, and how they fail."""

from email.message import EmailMessage
from typing import Protocol


class MailFailed(Exception):
    """A mail was not sent, or nobody knows whether it was. It may be tried again.

    Args:
        cause: A word for the log. No address and nothing that a mail server said: it repeats addresses.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class MailRefused(MailFailed):
    """Whoever it was given to will not take this mail, however often it is tried."""


class Mailer(Protocol):
    """Sends mails, also several at once. A mail that is sent again has the same Message-ID."""

    async def send(self, message: EmailMessage, address: str) -> None:
        """Send a message to an address, within a time that the mailer bounds.

        Raises:
            MailRefused: it can never be sent.
            MailFailed: it was not sent now, or it is not known.
        """
