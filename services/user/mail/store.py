"""SQL of mails: what waits to be sent, and what became of the tokens. Transactions are the caller's."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from services.storage.forgetting import COUNTS_KEPT, MAILS_KEPT
from services.storage.postgres import Connection
from services.user.accounts.emails import CanonicalEmail
from services.user.mail.domain import COUNTED_FOR, TOKEN_LIFETIMES, Claim, Due, Grant, Kind, Mail, Outcome
from services.user.privacy.domain import Digest
from services.user.privacy.store import personal_in
from services.user.privacy.vault import Vault

# To a person whose address no key opens that is here: until it is looked whether one is.
_UNREADABLE_FOR = timedelta(minutes=5)


async def append_mail(conn: Connection, user_id: UUID, kind: Kind, *, now: datetime) -> None:
    """Have a mail sent to a person once this transaction has committed; not one of RESET_PASSWORD."""
    lifetime = TOKEN_LIFETIMES.get(kind)
    await conn.execute(
        """
        INSERT INTO outgoing_mails (kind, user_id, create_time, expire_time)
        VALUES ($1, $2, $3, $4)
        """,
        kind,
        user_id,
        now,
        lifetime and now + lifetime,
    )


async def append_reset(
    conn: Connection, email: CanonicalEmail, digests: Sequence[Digest], *, now: datetime
) -> None:
    """Have a mail of RESET_PASSWORD sent to whoever has the address.

    One row is written in any case: how long it takes does not tell whether somebody has it.
    """
    await conn.execute(
        """
        INSERT INTO outgoing_mails (kind, user_id, password_mark, create_time, expire_time)
        SELECT $2, u.user_id, sha256(convert_to(u.password_hash, 'UTF8')), $3, $4
          FROM (SELECT (SELECT user_id FROM email_indexes WHERE digest = ANY($5)
                         UNION
                        SELECT user_id FROM users WHERE canonical_email = $1 AND delete_time IS NULL)
               ) AS asked (user_id)
          LEFT JOIN users u ON u.user_id = asked.user_id AND u.delete_time IS NULL
                           AND u.password_hash IS NOT NULL
        """,
        email,
        Kind.RESET_PASSWORD,
        now,
        now + TOKEN_LIFETIMES[Kind.RESET_PASSWORD],
        [each.digest for each in digests],
    )


async def list_recent(
    conn: Connection, user_id: UUID, kind: Kind, *, limit: int, now: datetime
) -> list[datetime]:
    """Return when the last mails of a kind that count still were written to a person, newest first."""
    rows = await conn.fetch(
        """
        SELECT create_time
          FROM outgoing_mails
         WHERE user_id = $1 AND kind = $2 AND create_time > $3
         ORDER BY create_time DESC
         LIMIT $4
        """,
        user_id,
        kind,
        now - COUNTED_FOR[kind],
        limit,
    )
    return [row["create_time"] for row in rows]


async def take_turn(conn: Connection) -> bool:
    """Tell whether this transaction alone looks for mails: two would each count without the other's."""
    has_turn: bool = await conn.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('outgoing_mails'))")
    return has_turn


async def list_due(conn: Connection, vault: Vault, limit: int) -> list[Due]:
    """Return mails whose time has come, and hold them.

    Those never tried come first, of these the ones that somebody waits for, and then who waits for longest.
    """
    rows = await conn.fetch(
        """
        SELECT m.mail_id, m.kind, m.create_time, m.expire_time, m.attempt_count, u.user_id, u.email,
               u.display_name, u.sealed_email, u.sealed_display_name, d.key_version, d.wrapped_key,
               u.email_verify_time IS NOT NULL AS is_email_confirmed,
               m.use_time IS NOT NULL
                   OR coalesce(m.password_mark <> sha256(convert_to(u.password_hash, 'UTF8')), FALSE)
                   AS is_token_void,
               CASE WHEN m.attempt_count > 0 THEN 0 ELSE (
                   SELECT count(*)
                     FROM outgoing_mails o
                    WHERE o.user_id = m.user_id AND o.kind = m.kind
                      AND o.create_time > m.create_time - k.counted_for
                      AND (o.attempt_count > 0 OR (o.create_time, o.mail_id) < (m.create_time, m.mail_id))
               ) END AS earlier_mails
          FROM outgoing_mails m
          JOIN unnest($2::text[], $3::interval[]) AS k (kind, counted_for) ON k.kind = m.kind
          LEFT JOIN users u ON u.user_id = m.user_id AND u.delete_time IS NULL
          LEFT JOIN data_keys d ON d.user_id = u.user_id
         WHERE m.due_time <= now()
         ORDER BY m.attempt_count > 0, m.kind <> 'RESET_PASSWORD', m.due_time
         LIMIT $1
           FOR UPDATE OF m SKIP LOCKED
        """,
        limit,
        list(COUNTED_FOR),
        list(COUNTED_FOR.values()),
    )
    emails = {row["mail_id"]: _find_email(row, vault) for row in rows}
    if unreadable := [mail_id for mail_id, email in emails.items() if email is None]:
        # Their keys may come back; meanwhile they keep no other from being sent.
        await conn.execute(
            "UPDATE outgoing_mails SET due_time = now() + $2 WHERE mail_id = ANY($1)",
            unreadable,
            _UNREADABLE_FOR,
        )
    return [_due(row, email) for row in rows if (email := emails[row["mail_id"]]) is not None]


async def count_mails(
    conn: Connection, mailboxes: Collection[bytes], *, now: datetime
) -> dict[tuple[bytes, Kind], int]:
    """Return how many mails of each kind that count still went to mailboxes; sure in one's turn alone."""
    rows = await conn.fetch(
        """
        SELECT mailbox, kind, count(*) AS mails
          FROM counted_mails
          JOIN unnest($2::text[], $3::timestamptz[]) AS k (kind, since) USING (kind)
         WHERE mailbox = ANY($1) AND count_time > since
         GROUP BY mailbox, kind
        """,
        mailboxes,
        list(COUNTED_FOR),
        [now - counted_for for counted_for in COUNTED_FOR.values()],
    )
    return {(row["mailbox"], Kind(row["kind"])): row["mails"] for row in rows}


async def list_counted(
    conn: Connection, mailbox: bytes, kind: Kind, *, limit: int, now: datetime
) -> list[datetime]:
    """Return when the last mails of a kind that count still went to a mailbox, newest first."""
    rows = await conn.fetch(
        """
        SELECT count_time
          FROM counted_mails
         WHERE mailbox = $1 AND kind = $2 AND count_time > $3
         ORDER BY count_time DESC
         LIMIT $4
        """,
        mailbox,
        kind,
        now - COUNTED_FOR[kind],
        limit,
    )
    return [row["count_time"] for row in rows]


async def append_counted(conn: Connection, counted: Sequence[tuple[bytes, Kind]], *, now: datetime) -> None:
    """Count mails to mailboxes."""
    await conn.executemany(
        "INSERT INTO counted_mails (mailbox, kind, count_time) VALUES ($1, $2, $3)",
        [(mailbox, kind, now) for mailbox, kind in counted],
    )


async def read_queue(conn: Connection, *, most: int) -> tuple[int, datetime | None]:
    """Return how many mails wait, up to `most`, and when the oldest of these was written."""
    row = await conn.fetchrow(
        """
        SELECT count(*) AS mails, min(create_time) AS oldest
          FROM (SELECT create_time
                  FROM outgoing_mails
                 WHERE due_time IS NOT NULL
                 ORDER BY due_time
                 LIMIT $1) AS waiting
        """,
        most,
    )
    assert row is not None  # noqa: S101  an aggregate has one row
    return row["mails"], row["oldest"]


async def claim_mails(conn: Connection, mails: Sequence[Mail], lease: timedelta) -> list[Claim]:
    """Take mails that this transaction holds; nobody else gets them before the lease ends."""
    rows = await conn.fetch(
        """
        UPDATE outgoing_mails
           SET due_time = now() + $2, claim_id = gen_random_uuid(), attempt_count = attempt_count + 1
         WHERE mail_id = ANY($1)
        RETURNING mail_id, claim_id, attempt_count
        """,
        [mail.mail_id for mail in mails],
        lease,
    )
    by_id = {mail.mail_id: mail for mail in mails}
    return [Claim(by_id[row["mail_id"]], row["claim_id"], row["attempt_count"]) for row in rows]


async def drop_mails(conn: Connection, mail_ids: Sequence[UUID]) -> None:
    """Drop mails that are not to be sent; of those that may have been, it is kept that they were tried."""
    await conn.execute("DELETE FROM outgoing_mails WHERE mail_id = ANY($1) AND attempt_count = 0", mail_ids)
    await conn.execute(
        """
        UPDATE outgoing_mails
           SET due_time = NULL, outcome = $2
         WHERE mail_id = ANY($1)
        """,
        mail_ids,
        Outcome.NEEDLESS,
    )


async def end_mail(conn: Connection, claim: Claim, outcome: Outcome) -> None:
    """Note what became of a mail; nothing happens if somebody else has it by now, or it is gone."""
    await conn.execute(
        """
        UPDATE outgoing_mails
           SET due_time = NULL, outcome = $3
         WHERE mail_id = $1 AND claim_id = $2 AND due_time IS NOT NULL
        """,
        claim.mail.mail_id,
        claim.claim_id,
        outcome,
    )


async def postpone_mail(conn: Connection, claim: Claim, delay: timedelta) -> None:
    """Give a mail back, due again after `delay`; nothing happens if somebody else has it by now."""
    await conn.execute(
        """
        UPDATE outgoing_mails
           SET due_time = now() + $3
         WHERE mail_id = $1 AND claim_id = $2 AND due_time IS NOT NULL
        """,
        claim.mail.mail_id,
        claim.claim_id,
        delay,
    )


async def find_grant(conn: Connection, vault: Vault, mail_id: UUID, kind: Kind) -> Grant | None:
    """Return what a mail's token is, or was, good for; None where there is no such mail of the kind."""
    row = await conn.fetchrow(
        """
        SELECT m.mail_id, m.user_id, m.expire_time, u.email, u.display_name, u.sealed_email,
               u.sealed_display_name, d.key_version, d.wrapped_key
          FROM outgoing_mails m
          JOIN users u ON u.user_id = m.user_id
          LEFT JOIN data_keys d ON d.user_id = u.user_id
         WHERE m.mail_id = $1 AND m.kind = $2 AND m.expire_time IS NOT NULL
        """,
        mail_id,
        kind,
    )
    kept = None if row is None else personal_in(row)
    if row is None or kept is None:
        return None
    personal = vault.read(kept)
    return Grant(
        row["mail_id"],
        kind,
        row["user_id"],
        personal.canonical_email,
        row["expire_time"],
        called=personal.display_name,
    )


async def is_token_good(conn: Connection, grant: Grant, *, now: datetime) -> bool:
    """Tell whether a token may be used. For sure only while its person is held: see `void_tokens`."""
    is_good: bool | None = await conn.fetchval(
        """
        SELECT m.use_time IS NULL AND m.expire_time > $2 AND u.delete_time IS NULL
               AND coalesce(m.password_mark = sha256(convert_to(u.password_hash, 'UTF8')), TRUE)
          FROM outgoing_mails m
          JOIN users u ON u.user_id = m.user_id
         WHERE m.mail_id = $1
        """,
        grant.mail_id,
        now,
    )
    return bool(is_good)


async def void_tokens(conn: Connection, user_id: UUID, kinds: Sequence[Kind], *, now: datetime) -> None:
    """Use up all tokens of some kinds of a person that this transaction holds, also those not sent yet."""
    await conn.execute(
        """
        UPDATE outgoing_mails
           SET use_time = $3
         WHERE user_id = $1 AND kind = ANY($2) AND use_time IS NULL
        """,
        user_id,
        kinds,
        now,
    )


async def delete_mails(conn: Connection, user_id: UUID) -> None:
    """Delete all that was or would be written to a person whose account this transaction has closed."""
    await conn.execute("DELETE FROM outgoing_mails WHERE user_id = $1", user_id)


async def forget_mails(conn: Connection, limit: int) -> int:
    """Forget up to `limit` of the oldest mails, with their tokens, and return how many."""
    forgotten = await conn.fetch(
        """
        DELETE FROM outgoing_mails
         WHERE mail_id IN (SELECT mail_id
                             FROM outgoing_mails
                            WHERE create_time < now() - $1::interval
                            ORDER BY create_time
                            LIMIT $2)
        RETURNING TRUE
        """,
        MAILS_KEPT,
        limit,
    )
    return len(forgotten)


async def forget_counted(conn: Connection, limit: int) -> int:
    """Forget up to `limit` of the oldest counts that count no longer, and return how many."""
    forgotten = await conn.fetch(
        """
        DELETE FROM counted_mails
         WHERE counted_mail_id IN (SELECT counted_mail_id
                                     FROM counted_mails
                                    WHERE count_time < now() - $1::interval
                                    ORDER BY count_time
                                    LIMIT $2)
        RETURNING TRUE
        """,
        COUNTS_KEPT,
        limit,
    )
    return len(forgotten)


def _find_email(row: asyncpg.Record, vault: Vault) -> str | None:
    """Return an address, "" where nobody has the account; None where it cannot be read."""
    kept = personal_in(row)
    if kept is None:
        return ""
    found = vault.find(kept)
    return None if found is None else found.email


def _due(row: asyncpg.Record, email: str) -> Due:
    return Due(
        mail_id=row["mail_id"],
        mail=_mail(row, email) if email else None,
        earlier_mails=row["earlier_mails"],
        is_token_void=row["is_token_void"],
        is_email_confirmed=row["is_email_confirmed"] or False,
    )


def _mail(row: asyncpg.Record, email: str) -> Mail:
    return Mail(
        mail_id=row["mail_id"],
        kind=Kind(row["kind"]),
        user_id=row["user_id"],
        email=email,
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        attempt_count=row["attempt_count"],
    )
