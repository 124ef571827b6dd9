"""Sends what waits in the outbox: each mail at least once, and given up in the end."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog

from services.storage.loops import outliving, run_batches
from services.storage.postgres import Pool, connection, transaction
from services.user.accounts.emails import canonical_email
from services.user.mail import store
from services.user.mail.domain import Claim, Outcome, Places, choose, retry_delay
from services.user.mail.letters import Letters
from services.user.mail.mailers import Mailer, MailFailed, MailRefused
from services.user.mail.tokens import MailTokens
from services.user.privacy.vault import Vault

log = structlog.get_logger(__name__)

# Mails on their way at once: each has a connection of its own to the mail server.
_AT_ONCE = 8
# Of these, such as failed before: a server that hangs keeps each for ten seconds.
_RETRIES_AT_ONCE = _AT_ONCE // 2
# From the first place that is free to the look for who takes it, so that one look fills several.
_GATHERING_SECONDS = 0.05
# Looked at in one transaction. Most are sent or dropped at once; those that nobody has cost a row each.
_LOOKED_AT = 200
# After a kill -9 its mails wait this long for somebody else. Longer than a mailer takes.
LEASE = timedelta(seconds=30)
_INTERVAL_SECONDS = 0.5


class Sending:
    """Sends in the background; every worker process runs one.

    A process that dies between the mailer's answer and the note of it has the mail sent once more, with the
    same token and the same Message-ID.
    """

    def __init__(
        self,
        pool: Pool,
        mailer: Mailer,
        *,
        vault: Vault,
        letters: Letters,
        tokens: MailTokens,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._mailer = mailer
        self._vault = vault
        self._letters = letters
        self._tokens = tokens
        self._clock = clock
        self._under_way: set[Claim] = set()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Send until cancelled. What is on its way then is sent again when its lease ends."""
        async with asyncio.TaskGroup() as group:

            async def fill_places() -> int:
                return await self._fill_places(group)

            await run_batches(
                "mails cannot be read", fill_places, batch=1, interval_seconds=_INTERVAL_SECONDS
            )

    async def send_due(self) -> int:
        """Send some of the mails whose time has come, drop those of no use, and return how many they were."""
        async with asyncio.TaskGroup() as group:
            return await self._fill_places(group)

    async def _fill_places(self, group: asyncio.TaskGroup) -> int:
        """Have mails sent in all places that are free, after a wait for the first one."""
        while len(self._under_way) >= _AT_ONCE:
            self._ended.clear()
            await self._ended.wait()
            await asyncio.sleep(_GATHERING_SECONDS)
        claims, dropped = await self._claim()
        for claim in claims:
            self._under_way.add(claim)
            task = group.create_task(self._send(claim))
            task.add_done_callback(partial(self._leave, claim))
        return len(claims) + dropped

    def _leave(self, claim: Claim, _: asyncio.Task[None]) -> None:
        self._under_way.discard(claim)
        self._ended.set()

    async def _claim(self) -> tuple[list[Claim], int]:
        now = self._clock()
        async with transaction(self._pool) as conn:
            if not await store.take_turn(conn):
                return [], 0
            due = await store.list_due(conn, self._vault, _LOOKED_AT)
            mailboxes = {
                each.mail.mail_id: self._tokens.mailbox(canonical_email(each.mail.email))
                for each in due
                if each.mail and each.is_counted
            }
            counts = await store.count_mails(conn, set(mailboxes.values()), now=now)
            places = Places(
                _AT_ONCE - len(self._under_way),
                _RETRIES_AT_ONCE - sum(claim.attempt_count > 1 for claim in self._under_way),
            )
            choice = choose(due, mailboxes, counts, places=places, now=now)
            if choice.dropped:
                await store.drop_mails(conn, choice.dropped)
            await store.append_counted(conn, choice.counted, now=now)
            claims = await store.claim_mails(conn, choice.sent, LEASE)
        if choice.dropped:
            # One line for all: a flood of addresses that nobody has is dropped here too.
            log.info("mails were not sent", outcome=Outcome.NEEDLESS.value, count=len(choice.dropped))
        return claims, len(choice.dropped)

    async def _send(self, claim: Claim) -> None:
        mail = claim.mail
        # Not sent, or not noted: it is due again when its lease ends.
        with outliving("a mail waits for its lease to end", mail_id=str(mail.mail_id)):
            try:
                token = self._tokens.make(mail.grant) if mail.grant else None
                await self._mailer.send(self._letters.write(mail, token), mail.email)
            except MailRefused as error:
                await self._end(claim, Outcome.REFUSED, cause=error.cause)
            except MailFailed as error:
                await self._retry(claim, error.cause)
            else:
                await self._end(claim, Outcome.SENT)

    async def _retry(self, claim: Claim, cause: str) -> None:
        delay = retry_delay(claim.attempt_count)
        if delay is None:
            await self._end(claim, Outcome.GIVEN_UP, cause=cause)
            return
        log.warning("a mail waits", mail_id=str(claim.mail.mail_id), kind=claim.mail.kind.value, cause=cause)
        async with connection(self._pool) as conn:
            await store.postpone_mail(conn, claim, delay)

    async def _end(self, claim: Claim, outcome: Outcome, **details: str) -> None:
        async with connection(self._pool) as conn:
            await store.end_mail(conn, claim, outcome)
        tell = log.info if outcome is Outcome.SENT else log.error
        told = {"kind": claim.mail.kind.value, "outcome": outcome.value, **details}
        tell(
            "a mail was sent" if outcome is Outcome.SENT else "a mail was not sent",
            mail_id=str(claim.mail.mail_id),
            **told,
        )
