"""Which mails there are, and when one is to be sent. No I/O, no clock of its own."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.user.accounts.emails import CanonicalEmail, canonical_email

# Of one kind, to one account, and to all accounts of one mailbox that have not confirmed it. Enough for who
# looks in the wrong folder first, too few to fill a mailbox.
MOST_AT_ONCE = 3
# Attempts in all, over about an hour and a half: a mail server that is restarted or moved is back by then.
MOST_ATTEMPTS = 12
_FIRST_DELAY_SECONDS = 5.0
_LONGEST_DELAY_SECONDS = 900.0


class Kind(StrEnum):
    """What a mail is for."""

    CONFIRM_EMAIL = "CONFIRM_EMAIL"
    RESET_PASSWORD = "RESET_PASSWORD"  # noqa: S105  a word, not a secret
    # From here on they tell the owner, and have no token.
    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105  a word, not a secret
    SECOND_FACTOR_ADDED = "SECOND_FACTOR_ADDED"
    SECOND_FACTOR_REMOVED = "SECOND_FACTOR_REMOVED"


# How long a token is good. Who asks for a new password waits for it; who has registered may read it tomorrow.
TOKEN_LIFETIMES = {Kind.CONFIRM_EMAIL: timedelta(hours=24), Kind.RESET_PASSWORD: timedelta(minutes=30)}
# How long a mail is counted. One of RESET_PASSWORD as long as its token is good: a stranger may ask for all
# three, and their person always has one that is. Counted for longer, they would leave a time without any.
COUNTED_FOR = {
    Kind.CONFIRM_EMAIL: timedelta(hours=1),
    Kind.RESET_PASSWORD: TOKEN_LIFETIMES[Kind.RESET_PASSWORD],
    Kind.PASSWORD_CHANGED: timedelta(hours=1),
    Kind.SECOND_FACTOR_ADDED: timedelta(hours=1),
    Kind.SECOND_FACTOR_REMOVED: timedelta(hours=1),
}


class Outcome(StrEnum):
    """How a mail ended."""

    SENT = "SENT"
    # The mail server does not take it, now or ever.
    REFUSED = "REFUSED"
    GIVEN_UP = "GIVEN_UP"
    # It would tell nothing, or carry a token that is void.
    NEEDLESS = "NEEDLESS"


@dataclass(frozen=True)
class Grant:
    """What the token of a mail is good for: one use, for one account with this address."""

    # Of the mail.
    mail_id: UUID
    kind: Kind
    user_id: UUID
    email: CanonicalEmail
    expire_time: datetime
    # The account's display name, which nobody may choose as its password; a mail is sent without it.
    called: str = ""


@dataclass(frozen=True)
class Mail:
    """A mail to an account that is open."""

    mail_id: UUID
    kind: Kind
    user_id: UUID
    # Where it goes, as the person wrote it.
    email: str
    create_time: datetime
    # None where there is no token.
    expire_time: datetime | None
    # Before this one.
    attempt_count: int

    @property
    def grant(self) -> Grant | None:
        """What its token is good for; None where it has none."""
        if self.expire_time is None:
            return None
        return Grant(self.mail_id, self.kind, self.user_id, canonical_email(self.email), self.expire_time)


@dataclass(frozen=True)
class Claim:
    """A mail that this process sends, until its lease ends."""

    mail: Mail
    claim_id: UUID
    # This one included.
    attempt_count: int


@dataclass(frozen=True)
class Due:
    """A mail whose time has come, and what decides whether it is sent."""

    mail_id: UUID

    # None: the account is closed, or there never was one.
    mail: Mail | None
    # Of its kind, to the same account, that counted when it was written. 0 for one that was tried before.
    earlier_mails: int
    is_token_void: bool
    is_email_confirmed: bool

    @property
    def is_counted(self) -> bool:
        """It may go to somebody who never asked for it: whoever registered has not shown that they read it.

        Who has confirmed the address is counted by account: else a stranger who registers with
        "ada+1@example.com" could use up the mails that Ada needs for a new password.
        """
        return self.mail is not None and self.mail.attempt_count == 0 and not self.is_email_confirmed


@dataclass(frozen=True)
class Places:
    """How many mails may be sent at once, and how many of them may be such as failed before."""

    free: int
    for_retries: int


@dataclass(frozen=True)
class Choice:
    """What is done now with some mails that are due; what is in neither waits."""

    sent: Sequence[Mail]
    dropped: Sequence[UUID]
    # The mailbox and the kind of each of `sent` that counts.
    counted: Sequence[tuple[bytes, Kind]]


def choose(
    due: Sequence[Due],
    mailboxes: Mapping[UUID, bytes],
    counts: Mapping[tuple[bytes, Kind], int],
    *,
    places: Places,
    now: datetime,
) -> Choice:
    """Choose which mails are sent.

    Args:
        due: Mails, those first that are to go first.
        mailboxes: By mail, of those that are counted.
        counts: How many of a kind that still count went to a mailbox; 0 where it is not named.
        places: For how many there is room.
        now: The time.
    """
    sent: list[Mail] = []
    dropped: list[UUID] = []
    counted: list[tuple[bytes, Kind]] = []
    retries = 0
    for each in due:
        mail = to_be_sent(each, now)
        if mail is None:
            dropped.append(each.mail_id)
            continue
        key = (mailboxes[mail.mail_id], mail.kind) if each.is_counted else None
        if key and counts.get(key, 0) + counted.count(key) >= MOST_AT_ONCE:
            dropped.append(mail.mail_id)
        elif len(sent) < places.free and (mail.attempt_count == 0 or retries < places.for_retries):
            sent.append(mail)
            retries += mail.attempt_count > 0
            counted += [key] if key else []
    return Choice(sent, dropped, counted)


def to_be_sent(due: Due, now: datetime) -> Mail | None:
    """Return the mail, if it is still of use and not one of too many."""
    mail = due.mail
    # Who dies of a mail each time never notes that it failed.
    if mail is None or mail.attempt_count >= MOST_ATTEMPTS:
        return None
    if due.earlier_mails >= MOST_AT_ONCE:
        return None
    if mail.expire_time is None:
        return mail
    is_needless = mail.kind is Kind.CONFIRM_EMAIL and due.is_email_confirmed
    is_too_late = due.is_token_void or mail.expire_time <= now
    return None if is_needless or is_too_late else mail


def retry_delay(attempt_count: int) -> timedelta | None:
    """Return how long to wait after a failed attempt; None when it was the last."""
    if attempt_count >= MOST_ATTEMPTS:
        return None
    ceiling = min(_FIRST_DELAY_SECONDS * 2.0 ** (attempt_count - 1), _LONGEST_DELAY_SECONDS)
    return timedelta(seconds=random.uniform(ceiling / 2, ceiling))
