"""Where the mails of a mesh go: to files of its own, which `mesh mail` shows, or to a server of others."""

from deploy.local.files import ensure_secret, replace_file
from deploy.local.layout import Layout, Options
from deploy.local.parts.handed_on import checked
from deploy.local.parts.outside import OUTSIDE_SCHEMES, OutsideUrl, without_password
from services.settings import link_base, one_line, sender_address

_TOKEN_KEY = "mail_token"  # noqa: S105  a name
_SMTP = "outside_smtp"
# Options of `mesh up` that the service takes as they are, and how it reads them.
_HANDED_ON = (
    ("mail_sender", "COMMERCE_MAIL_SENDER", sender_address),
    ("mail_product", "COMMERCE_MAIL_PRODUCT", one_line),
    ("mail_link_base", "COMMERCE_MAIL_LINK_BASE", link_base),
)


def make_mail_secrets(layout: Layout, options: Options) -> None:
    """Make the key of the tokens in mails, unless it is there, and keep the mail server's password.

    Raises:
        MeshError: --smtp-url is no such URL.
    """
    ensure_secret(layout.secret(_TOKEN_KEY))
    if options.smtp_url is not None:
        replace_file(layout.secret(_SMTP), _server(options.smtp_url).password)


def mail_settings(layout: Layout, options: Options) -> dict[str, str]:
    """Return what the service that sends mails is started with.

    Raises:
        MeshError: an option is nothing that the service would start with.
    """
    settings = {
        "COMMERCE_MAIL_URL": layout.mail.as_uri(),
        "COMMERCE_MAIL_TOKEN_KEY_FILE": str(layout.secret(_TOKEN_KEY)),
    }
    if options.smtp_url is not None:
        settings["COMMERCE_MAIL_URL"] = _server(options.smtp_url).url
        settings["COMMERCE_SMTP_PASSWORD_FILE"] = str(layout.secret(_SMTP))
    for option, variable, read in _HANDED_ON:
        if (text := getattr(options, option)) is not None:
            settings[variable] = checked(text, option, read)
    return settings


def _server(url: str) -> OutsideUrl:
    return without_password(url, OUTSIDE_SCHEMES["smtp_url"], "--smtp-url")
