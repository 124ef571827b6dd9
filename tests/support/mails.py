"""The mails of a test: what a folder of them holds, and the tokens that stand in them."""

import email
import email.policy
import re
from email.message import EmailMessage
from pathlib import Path

from services.storage.postgres import Pool, connection
from services.user.accounts.emails import canonical_email
from services.user.mail import store
from services.user.mail.domain import Kind
from services.user.mail.tokens import MailTokens
from tests.support.vaults import VAULT

_TOKEN = re.compile(r"^ *([A-Za-z0-9_-]{64})\r?$", re.MULTILINE)


def read_mail(raw: bytes) -> EmailMessage:
    """Read a mail as its receiver's program does."""
    return email.message_from_bytes(raw, policy=email.policy.default)


def mails_in(folder: Path, address: str | None = None) -> list[EmailMessage]:
    """Read the mails of a folder, or those to one address, the oldest first."""
    found = [read_mail(path.read_bytes()) for path in sorted(folder.glob("[!.]*.eml"))]
    return [mail for mail in found if address in {None, str(mail["To"])}]


def token_in(mail: EmailMessage) -> str:
    """Read the token that a person would copy out of a mail."""
    found = _TOKEN.search(mail.get_content())
    assert found, mail.get_content()
    return found[1]


async def last_token(pool: Pool, tokens: MailTokens, address: str, kind: Kind) -> str:
    """Make the token of the last mail of a kind to an address, as its sending would."""
    async with connection(pool) as conn:
        mail_id = await conn.fetchval(
            """
            SELECT m.mail_id
              FROM outgoing_mails m
              JOIN email_indexes i USING (user_id)
             WHERE i.digest = ANY($1) AND m.kind = $2
             ORDER BY m.create_time DESC
             LIMIT 1
            """,
            [each.digest for each in VAULT.digests(canonical_email(address))],
            kind,
        )
        grant = await store.find_grant(conn, VAULT, mail_id, kind)
    assert grant is not None
    return tokens.make(grant)
