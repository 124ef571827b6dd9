"""What stands in the mails: short, in English, without a word that somebody else could have chosen.

No mail greets its reader by name. Whoever registers chooses the name, and may register with another's
address: the mail would bring them whatever the name says.
"""

from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import Policy
from email.utils import format_datetime

from services.user.mail.domain import Kind, Mail
from services.user.mail.mailers import MailRefused

# In 7 bits, so that no server on the way must write the text anew.
_POLICY = policy.SMTP.clone(cte_type="7bit")

_SUBJECTS = {
    Kind.CONFIRM_EMAIL: "Confirm your e-mail address",
    Kind.RESET_PASSWORD: "Set a new password",
    Kind.PASSWORD_CHANGED: "Your password was changed",
    Kind.SECOND_FACTOR_ADDED: "Your account has a second step now",
    Kind.SECOND_FACTOR_REMOVED: "Your account has no second step any more",
}
_TEXTS = {
    Kind.CONFIRM_EMAIL: """\
An account at {product} was made with this e-mail address.

Confirm that the address is yours, within 24 hours, by this token:

    {token}

{way}
If it was not you, do nothing: without the token the address stays unconfirmed.
""",
    Kind.RESET_PASSWORD: """\
Somebody, we hope you, asked for a new password for your account at {product}.

Set one within 30 minutes, by this token:

    {token}

{way}
It ends all sessions of the account. If it was not you, do nothing: your
password stays as it is. Give the token to nobody; we never ask for it.
""",
    Kind.PASSWORD_CHANGED: """\
The password of your account at {product} was changed just now, and all of its
sessions have ended, but for one that changed it.

If it was not you, set a new password at once: ask for a token by
POST /v1/users:requestPasswordReset.
""",
    Kind.SECOND_FACTOR_ADDED: """\
From now on a log-in to your account at {product} asks for a code, beside the
password. All sessions have ended, but for the one that asked for it.

If it was not you, somebody has your password: tell the shop at once.
""",
    Kind.SECOND_FACTOR_REMOVED: """\
From now on a log-in to your account at {product} asks for the password alone.

If it was not you, set a new password at once: ask for a token by
POST /v1/users:requestPasswordReset. Then turn the second step on again.
""",
}
_CALLS = {
    Kind.CONFIRM_EMAIL: 'Send it by POST /v1/users:confirmEmail, as {"token": "..."}.\n',
    Kind.RESET_PASSWORD: (
        "Send it by POST /v1/users:resetPassword, as\n"
        '{"token": "...", "newPassword": "..."}, with 10 to 128 characters of your own.\n'
    ),
}
_PAGES = {Kind.CONFIRM_EMAIL: "confirm-email", Kind.RESET_PASSWORD: "reset-password"}


class _To(str):
    """The header "To" as it stands.

    The library parses what it is given, and decodes "=?utf-8?q?...?=" in it: line breaks too, behind which
    would stand the headers and the text of whoever wrote the address.
    """

    __slots__ = ()
    name = "To"

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


class Letters:
    """Writes mails.

    Args:
        product: What the shop is called.
        sender: The address that they come from.
        link_base: The URL of the web pages that take tokens, without a slash at the end; None: there are
            none, and the mail says which method takes it.
    """

    def __init__(self, product: str, sender: str, link_base: str | None) -> None:
        self._product = product
        self._sender = sender
        self._link_base = link_base

    def write(self, mail: Mail, token: str | None) -> EmailMessage:
        """Write a mail (RFC 5322). The same mail is the same message, to the letter.

        Raises:
            MailRefused: its address would be read as something else.
        """
        message = EmailMessage(policy=_POLICY)
        message["From"] = Address(display_name=self._product, addr_spec=self._sender)
        message["To"] = _To(mail.email)
        message["Subject"] = f"{self._product}: {_SUBJECTS[mail.kind]}"
        message["Date"] = format_datetime(mail.create_time)
        message["Message-ID"] = f"<{mail.mail_id}@{self._sender.rpartition('@')[2]}>"
        # RFC 3834: no absence notes in reply.
        message["Auto-Submitted"] = "auto-generated"
        way = self._way(mail.kind, token)
        message.set_content(_TEXTS[mail.kind].format(product=self._product, token=token, way=way))
        _check_read_as_written(message)
        return message

    def _way(self, kind: Kind, token: str | None) -> str:
        if token is None or self._link_base is None:
            return _CALLS.get(kind, "")
        # Behind the "#": a browser sends it to no server, so it stands in no log and no Referer.
        return f"Or open {self._link_base}/{_PAGES[kind]}#{token}\n"


def _check_read_as_written(message: EmailMessage) -> None:
    """Read a mail as its receiver's program does, and compare.

    Raises:
        MailRefused: it has other headers, another text, or goes to somebody else.
    """
    refused = MailRefused("it would not be read as it was written")
    try:
        read = message_from_bytes(message.as_bytes(), policy=policy.default)
        addresses = [each.addr_spec for each in read["To"].addresses]
        is_same = (addresses, read.keys(), read.get_content().splitlines()) == (
            [str(message["To"])],
            message.keys(),
            message.get_content().splitlines(),
        )
    except ValueError:
        # What was decoded holds a line break.
        raise refused from None
    if not is_same:
        raise refused
