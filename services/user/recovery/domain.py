"""When a mail may be asked for, and what is said of a token that is of no use. No I/O, no clock."""

from collections.abc import Sequence
from datetime import datetime

from services.errors import FailedPrecondition, FieldViolation, InvalidArgument, ResourceExhausted
from services.user.accounts.domain import OpenedUser, check_registrable
from services.user.mail.domain import COUNTED_FOR, MOST_AT_ONCE, Kind


class MailTokenInvalid(InvalidArgument):
    """Forged, used, too old or made void: one answer for all."""

    reason = "MAIL_TOKEN_INVALID"

    def __init__(self) -> None:
        text = "the token is not valid, or no longer: have a new mail sent"
        super().__init__(text, violations=[FieldViolation("token", text, self.reason)])


class EmailAlreadyConfirmed(FailedPrecondition):
    reason = "EMAIL_ALREADY_CONFIRMED"

    def __init__(self) -> None:
        super().__init__("the e-mail address is confirmed")


class TooManyMails(ResourceExhausted):
    reason = "TOO_MANY_MAILS"


def check_unconfirmed(user: OpenedUser) -> None:
    """Check that there is something to confirm.

    Raises:
        EmailAlreadyConfirmed: it is.
        EmailReserved: the account is an operators', whose address has no mailbox.
    """
    check_registrable(user.canonical_email)
    if user.email_verify_time is not None:
        raise EmailAlreadyConfirmed


def check_mails_left(recent: Sequence[datetime], now: datetime) -> None:
    """Check that one mail more of CONFIRM_EMAIL may be sent to somebody.

    Args:
        recent: When those that count still were written, newest first.
        now: The time.

    Raises:
        TooManyMails: says when the next one may be.
    """
    if len(recent) >= MOST_AT_ONCE:
        wait = recent[MOST_AT_ONCE - 1] + COUNTED_FOR[Kind.CONFIRM_EMAIL] - now
        raise TooManyMails(
            f"no more than {MOST_AT_ONCE} such mails are sent an hour",
            retry_after_seconds=wait.total_seconds(),
        )
