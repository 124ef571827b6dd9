"""Where mails go, whom they are from, and the secrets of the tokens in them."""
# ruff: noqa: RUF009  `variable` declares a field, as `dataclasses.field` does

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.settings import (
    existing_file,
    exit_with,
    link_base,
    one_line,
    secret_lines,
    sender_address,
    url_of,
    variable,
)
from services.user.mail.folder import FolderMailer
from services.user.mail.mailers import Mailer
from services.user.mail.smtp import SmtpMailer, SmtpPlace, Tls

# Of submission (RFC 6409), and where TLS comes first (RFC 8314, section 3.3).
_PORTS = {"smtp": 587, "smtps": 465}


def mail_url(text: str) -> Path | SmtpPlace:
    """Read file:///FOLDER, smtp://USER@HOST:PORT or smtps://USER@HOST:PORT."""
    parts = urlsplit(url_of("file", "smtp", "smtps")(text))
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError("is not file:/// and the whole path of a folder")
        return Path(unquote(parts.path))
    if not parts.hostname:
        raise ValueError("names no host")
    if parts.password is not None:
        raise ValueError("holds a password, which belongs into the file of COMMERCE_SMTP_PASSWORD_FILE")
    tls = Tls.NONE if _is_this_machine(parts.hostname) else Tls.UPGRADED
    if parts.scheme == "smtps":
        tls = Tls.FROM_THE_FIRST_BYTE
    port = parts.port or _PORTS[parts.scheme]
    return SmtpPlace(parts.hostname, port, unquote(parts.username or ""), tls)


@dataclass(frozen=True, kw_only=True)
class MailSettings:
    """How people are written to.

    The first line of the keys makes tokens, all lines are accepted: a key is rotated as that of page tokens
    is, and the old one may go a day after the new one came first.
    """

    place: Path | SmtpPlace = variable(
        "COMMERCE_MAIL_URL", mail_url, about="where mails go: file:///FOLDER, smtp[s]://USER@HOST:PORT"
    )
    smtp_password_file: Path | None = variable(
        "COMMERCE_SMTP_PASSWORD_FILE", existing_file, default=None, about="that user's password"
    )
    sender: str = variable(
        "COMMERCE_MAIL_SENDER",
        sender_address,
        default="no-reply@commerce.local",
        about="the address that mails come from",
    )
    product: str = variable(
        "COMMERCE_MAIL_PRODUCT", one_line, default="Commerce Mesh", about="what the shop is called in them"
    )
    link_base: str | None = variable(
        "COMMERCE_MAIL_LINK_BASE",
        link_base,
        default=None,
        about="URL before /confirm-email#TOKEN and /reset-password#TOKEN; unset: no links",
    )
    token_keys: tuple[bytes, ...] = variable(
        "COMMERCE_MAIL_TOKEN_KEY_FILE",
        secret_lines,
        about="secrets of the tokens in mails, one a line: the first makes",
    )


def mailer_of(settings: MailSettings) -> Mailer:
    """Return what sends mails to where the settings say; end the process where a password is missing."""
    if isinstance(settings.place, Path):
        return FolderMailer(settings.place)
    if settings.place.user and settings.smtp_password_file is None:
        missing = "COMMERCE_SMTP_PASSWORD_FILE is missing: COMMERCE_MAIL_URL names a user"
        exit_with("The settings are not complete:", [missing])
    return SmtpMailer(settings.place, settings.smtp_password_file)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
