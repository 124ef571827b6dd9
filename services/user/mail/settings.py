"""Where mails go, whom they are from, and the secrets of the tokens in them."""
# ruff: noqa: RUF009  `variable` declares a field, as `dataclasses.field` does

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.settings import existing_file, exit_with, secret_lines, url_of, variable
from services.user.mail.folder import FolderMailer
from services.user.mail.mailers import Mailer
from services.user.mail.smtp import SmtpMailer, SmtpPlace

# Of submission (RFC 6409).
_SUBMISSION_PORT = 587
_LONGEST_LINE = 200


def mail_url(text: str) -> Path | SmtpPlace:
    """Read file:///FOLDER or smtp://USER@HOST:PORT."""
    parts = urlsplit(url_of("file", "smtp")(text))
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError("is not file:/// and the whole path of a folder")
        return Path(unquote(parts.path))
    if not parts.hostname:
        raise ValueError("names no host")
    if parts.password is not None:
        raise ValueError("holds a password, which belongs into the file of COMMERCE_SMTP_PASSWORD_FILE")
    needs_tls = not _is_this_machine(parts.hostname)
    return SmtpPlace(parts.hostname, parts.port or _SUBMISSION_PORT, unquote(parts.username or ""), needs_tls)


def one_line(text: str) -> str:
    """Check that a text can stand in a header."""
    if not text.isprintable() or len(text) > _LONGEST_LINE:
        raise ValueError("is not one line of printable characters")
    return text


def sender_address(text: str) -> str:
    """Check the address that mails come from."""
    local, _, domain = one_line(text).rpartition("@")
    if not (local and domain and text.isascii()) or set(text) & set(' <>"(),:;[\\]'):
        raise ValueError("is not an e-mail address")
    return text


def link_base(text: str) -> str:
    """Read the URL of web pages, without a slash at its end."""
    parts = urlsplit(url_of("https", "http")(one_line(text)))
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError("is not a URL without ? and #")
    return text.rstrip("/")


@dataclass(frozen=True, kw_only=True)
class MailSettings:
    """How people are written to.

    The first line of the keys makes tokens, all lines are accepted: a key is rotated as that of page tokens
    is, and the old one may go a day after the new one came first.
    """

    place: Path | SmtpPlace = variable(
        "COMMERCE_MAIL_URL", mail_url, about="where mails go: file:///FOLDER or smtp://USER@HOST:PORT"
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
