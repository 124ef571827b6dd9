"""Where the mails of a mesh go: to files of its own, which `mesh mail` shows, or to a server of others."""

from deploy.local.files import ensure_secret, replace_file
from deploy.local.layout import Layout, Options
from deploy.local.parts.outside import OUTSIDE_SCHEMES, OutsideUrl, without_password

_TOKEN_KEY = "mail_token"  # noqa: S105  a name
_SMTP = "outside_smtp"


def make_mail_secrets(layout: Layout, options: Options) -> None:
    """Make the key of the tokens in mails, unless it is there, and keep the mail server's password.

    Raises:
        MeshError: --smtp-url is no such URL.
    """
    ensure_secret(layout.secret(_TOKEN_KEY))
    if options.smtp_url is not None:
        replace_file(layout.secret(_SMTP), _server(options.smtp_url).password)


def mail_settings(layout: Layout, options: Options) -> dict[str, str]:
    """Return what the service that sends mails is started with."""
    settings = {
        "COMMERCE_MAIL_URL": layout.mail.as_uri(),
        "COMMERCE_MAIL_TOKEN_KEY_FILE": str(layout.secret(_TOKEN_KEY)),
    }
    if options.smtp_url is not None:
        settings["COMMERCE_MAIL_URL"] = _server(options.smtp_url).url
        settings["COMMERCE_SMTP_PASSWORD_FILE"] = str(layout.secret(_SMTP))
    if options.mail_sender is not None:
        settings["COMMERCE_MAIL_SENDER"] = options.mail_sender
    return settings


def _server(url: str) -> OutsideUrl:
    return without_password(url, OUTSIDE_SCHEMES["smtp_url"], "--smtp-url")
