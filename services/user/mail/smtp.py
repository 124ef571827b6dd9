"""Mails over SMTP (RFC 5321): by TLS or STARTTLS (RFC 3207), unless the server is on this machine."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import parseaddr
from enum import Enum, auto
from pathlib import Path

import aiosmtplib

from services.settings import read_secret
from services.user.mail.mailers import MailFailed, MailRefused

# All of a mail: the connection, TLS, the log-in, its text. Less than the lease of a mail that is being sent.
SEND_SECONDS = 10.0
# Once the server has the mail it may say good-bye for so long; its answer changes nothing.
_QUIT_SECONDS = 1.0
# From here on a reply says that it is no use to try again (RFC 5321, section 4.2.1).
_FOR_GOOD = 500


class Tls(Enum):
    """How a connection to a mail server is encrypted."""

    NONE = auto()
    # STARTTLS.
    UPGRADED = auto()
    # smtps (RFC 8314).
    FROM_THE_FIRST_BYTE = auto()


@dataclass(frozen=True)
class SmtpPlace:
    """A mail server and how it is spoken to."""

    host: str
    port: int
    # "": without a log-in.
    user: str
    tls: Tls


class SmtpMailer:
    """Gives each mail to a server over a connection of its own.

    Args:
        place: The server.
        password_file: Its password for us, read again for each mail, so that a rotated one is seen.
        seconds: How long a mail may take.
    """

    def __init__(self, place: SmtpPlace, password_file: Path | None, seconds: float = SEND_SECONDS) -> None:
        self._place = place
        self._password_file = password_file
        self._seconds = seconds
        # Verifies the server's certificate and its name, by the authorities that the system trusts.
        self._tls = None if place.tls is Tls.NONE else ssl.create_default_context()

    async def send(self, message: EmailMessage, address: str) -> None:
        """Send a mail. When the time is over it is not known whether the server has it."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(self._client(), message, address)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _failure(error) from error

    async def _send(self, client: aiosmtplib.SMTP, message: EmailMessage, address: str) -> None:
        try:
            await client.connect()
            await client.sendmail(parseaddr(str(message["From"]))[1], [address], message.as_bytes())
            await self._quit(client)
        finally:
            client.close()

    def _client(self) -> aiosmtplib.SMTP:
        place, has_login = self._place, bool(self._place.user and self._password_file)
        return aiosmtplib.SMTP(
            hostname=place.host,
            port=place.port,
            username=place.user if has_login else None,
            password=read_secret(self._password_file) if has_login and self._password_file else None,
            timeout=self._seconds,
            # Not "if the server has it": whoever stands in between would say that it has not.
            start_tls=place.tls is Tls.UPGRADED,
            use_tls=place.tls is Tls.FROM_THE_FIRST_BYTE,
            tls_context=self._tls,
        )

    async def _quit(self, client: aiosmtplib.SMTP) -> None:
        with suppress(aiosmtplib.SMTPException, OSError):
            async with asyncio.timeout(_QUIT_SECONDS):
                await client.quit()


def _failure(error: Exception) -> MailFailed:
    """Translate; only a refusal of the address or of the text is final, all else may be our own mistake."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        code = min(each.code for each in error.recipients)
        return (MailRefused if code >= _FOR_GOOD else MailFailed)(f"recipient refused: {code}")
    if isinstance(error, aiosmtplib.SMTPDataError):
        return (MailRefused if error.code >= _FOR_GOOD else MailFailed)(f"text refused: {error.code}")
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return MailFailed(f"{type(error).__name__}: {error.code}")
    return MailFailed(type(error).__name__)
