"""The outbox of mails: what is written is sent, at least once and in bounds; and the folder of files."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
import structlog

from services.storage.forgetting import COUNTS_KEPT, MAILS_KEPT, Forgetting
from services.storage.postgres import Pool, connection, transaction
from services.user.accounts import domain as accounts
from services.user.accounts import store as account_store
from services.user.mail import store
from services.user.mail.domain import MOST_AT_ONCE, MOST_ATTEMPTS, Kind, Mail
from services.user.mail.folder import FolderMailer
from services.user.mail.letters import Letters
from services.user.mail.mailers import MailFailed, MailRefused
from services.user.mail.sending import Sending
from tests.conftest import DatabaseHandle
from tests.support.mails import mails_in
from tests.support.vaults import VAULT
from tests.support.waiting import until
from tests.user.conftest import Clock, insert_account, sending_to, some_email
from tests.user.test_letters import ENCODED_HEADERS

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA"
KEY, OTHER_KEY = b"a key of thirty-two bytes, or more", b"another key of that length or more"


@dataclass
class Recorder:
    """A mailer that keeps what it is given, after raising each of `failures` once."""

    failures: list[BaseException] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)

    async def send(self, message: EmailMessage, address: str) -> None:
        # Others have their turn, as while a real one waits.
        await asyncio.sleep(0)
        self.sent.append((address, message.as_bytes()))
        if self.failures:
            raise self.failures.pop()


@pytest_asyncio.fixture(loop_scope="session")
async def pool(pool: Pool) -> AsyncIterator[Pool]:
    """The database, with no mail that waits."""
    await pool.execute(
        "UPDATE outgoing_mails SET due_time = NULL, outcome = 'NEEDLESS' WHERE due_time IS NOT NULL"
    )
    yield pool


async def add_user(pool: Pool, email: str | None = None) -> accounts.OpenedUser:
    """Open an account that was written to."""
    async with transaction(pool) as conn:
        user_id = await account_store.new_user_id(conn)
        user, event = accounts.register(user_id, email or some_email(), "Ada", datetime.now(UTC))
        user = await insert_account(conn, user, event, HASH)
        await store.append_mail(conn, user_id, Kind.CONFIRM_EMAIL, now=user.create_time)
    return user


async def outcomes(pool: Pool, user_id: UUID) -> list[tuple[str | None, int]]:
    rows = await pool.fetch("SELECT outcome, attempt_count FROM outgoing_mails WHERE user_id = $1", user_id)
    return [(row["outcome"], row["attempt_count"]) for row in rows]


async def make_due(pool: Pool) -> None:
    """Pass the time until what waits is tried again."""
    await pool.execute("UPDATE outgoing_mails SET due_time = now() WHERE due_time IS NOT NULL")


async def test_a_mail_that_was_rolled_back_is_not_sent(pool: Pool) -> None:
    user = await add_user(pool)
    async with connection(pool) as conn:
        undone = conn.transaction()
        await undone.start()
        await store.append_mail(conn, user.user_id, Kind.PASSWORD_CHANGED, now=NOW)
        await undone.rollback()
    mailer = Recorder()
    assert await sending_to(pool, mailer, Clock()).send_due() == 1
    assert len(mailer.sent) == 1


async def test_processes_that_send_side_by_side_send_each_mail_once(pool: Pool) -> None:
    users = [await add_user(pool) for _ in range(30)]
    mailers = [Recorder() for _ in range(3)]

    async def work(mailer: Recorder) -> None:
        while await pool.fetchval("SELECT count(*) FROM outgoing_mails WHERE due_time <= now()"):
            await sending_to(pool, mailer, Clock()).send_due()

    await asyncio.gather(*map(work, mailers))
    sent = [address for mailer in mailers for address, _ in mailer.sent]
    assert sorted(sent) == sorted(user.email for user in users)


@dataclass
class Slow:
    """A mailer that keeps some mails until it is let go, and notes when it is given each."""

    kept: set[str]
    given: list[str] = field(default_factory=list)
    is_let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, message: EmailMessage, address: str) -> None:
        self.given.append(address)
        if address in self.kept:
            await self.is_let_go.wait()

    async def until_given(self, *addresses: str, count: int = 0) -> None:
        async def is_given() -> bool:
            return set(addresses) <= set(self.given) and len(self.given) >= count

        await until(is_given)


@asynccontextmanager
async def running(sending: Sending) -> AsyncIterator[None]:
    task = asyncio.create_task(sending.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_slow_receivers_hold_up_nobody_else(pool: Pool) -> None:
    slow = [(await add_user(pool)).email for _ in range(7)]
    others = [(await add_user(pool)).email for _ in range(30)]
    mailer = Slow(set(slow))
    async with running(sending_to(pool, mailer, Clock())):
        await mailer.until_given(*others)
        assert sorted(mailer.given) == sorted(slow + others)


async def test_mails_that_failed_before_take_half_of_the_places_at_most(pool: Pool) -> None:
    failed = [(await add_user(pool)).email for _ in range(8)]
    await sending_to(pool, Recorder([MailFailed("away") for _ in failed]), Clock()).send_due()
    await make_due(pool)
    mailer = Slow(set(failed))
    async with running(sending_to(pool, mailer, Clock())):
        await mailer.until_given(count=4)
        first = await add_user(pool)
        await mailer.until_given(first.email)
        assert len(mailer.given) == 5
        mailer.is_let_go.set()
        await mailer.until_given(*failed)


async def test_who_waits_for_a_reset_comes_first_and_who_failed_before_last(pool: Pool) -> None:
    failed = await add_user(pool)
    await sending_to(pool, Recorder([MailFailed("away")]), Clock()).send_due()
    await make_due(pool)
    users = [await add_user(pool) for _ in range(3)]
    email = users[2].canonical_email
    async with transaction(pool) as conn:
        await store.append_reset(conn, email, VAULT.digests(email), now=datetime.now(UTC))
        due = [each.mail for each in await store.list_due(conn, VAULT, 10) if each.mail]
    assert [(mail.kind, mail.email) for mail in due] == [
        (Kind.RESET_PASSWORD, users[2].email),
        *((Kind.CONFIRM_EMAIL, user.email) for user in (*users, failed)),
    ]


async def test_one_process_at_a_time_counts_and_claims(pool: Pool) -> None:
    await add_user(pool)
    sending = sending_to(pool, Recorder(), Clock())
    async with transaction(pool) as conn:
        assert await store.take_turn(conn)
        assert await sending.send_due() == 0
    assert await sending.send_due() == 1


async def test_a_mail_that_somebody_holds_keeps_no_other_waiting(pool: Pool) -> None:
    held, other = await add_user(pool), await add_user(pool)
    mailer = Recorder()
    async with transaction(pool) as conn:
        await store.void_tokens(conn, held.user_id, [Kind.CONFIRM_EMAIL], now=datetime.now(UTC))
        await sending_to(pool, mailer, Clock()).send_due()
        assert [address for address, _ in mailer.sent] == [other.email]


async def test_a_mail_that_fails_is_tried_again_later_and_given_up_in_the_end(pool: Pool) -> None:
    user = await add_user(pool)
    mailer = Recorder([MailFailed("away") for _ in range(MOST_ATTEMPTS + 5)])
    sending = sending_to(pool, mailer, Clock())
    for _ in range(MOST_ATTEMPTS):
        assert await sending.send_due() == 1
        assert await sending.send_due() == 0, "it was tried again at once"
        await make_due(pool)
    assert await outcomes(pool, user.user_id) == [("GIVEN_UP", MOST_ATTEMPTS)]
    assert await sending.send_due() == 0
    assert len(mailer.sent) == MOST_ATTEMPTS


async def test_a_mail_that_is_refused_is_not_tried_again(pool: Pool) -> None:
    user = await add_user(pool)
    mailer = Recorder([MailRefused("no such mailbox")])
    with structlog.testing.capture_logs() as told:
        await sending_to(pool, mailer, Clock()).send_due()
    assert await outcomes(pool, user.user_id) == [("REFUSED", 1)]
    assert [line["cause"] for line in told] == ["no such mailbox"]
    assert user.email not in str(told)


async def test_an_old_account_whose_address_hides_headers_is_not_written_to(
    pool: Pool, tmp_path: Path
) -> None:
    # Of before the contract refused it.
    user = await add_user(pool, ENCODED_HEADERS)
    await sending_to(pool, FolderMailer(tmp_path), Clock()).send_due()
    assert mails_in(tmp_path) == []
    assert await outcomes(pool, user.user_id) == [("REFUSED", 1)]


async def test_a_bug_at_one_mail_keeps_no_other_from_being_sent(pool: Pool) -> None:
    users = [await add_user(pool) for _ in range(3)]
    mailer = Recorder([KeyError("a bug")])
    await sending_to(pool, mailer, Clock()).send_due()
    ended = [outcome for user in users for outcome, _ in await outcomes(pool, user.user_id)]
    assert sorted(ended, key=str) == [None, "SENT", "SENT"]


async def test_a_person_who_cannot_be_read_keeps_no_other_from_getting_mail(pool: Pool) -> None:
    lost, other = await add_user(pool), await add_user(pool)
    under_no_key = bytes([1]) + (999).to_bytes(4, "big")
    key: bytes = await pool.fetchval("SELECT wrapped_key FROM data_keys WHERE user_id = $1", lost.user_id)
    await pool.execute(
        "UPDATE data_keys SET wrapped_key = $2 WHERE user_id = $1", lost.user_id, under_no_key + key[5:]
    )
    mailer = Recorder()
    sending = sending_to(pool, mailer, Clock())
    await sending.send_due()
    assert [address for address, _ in mailer.sent] == [other.email]
    # It is not lost: once the key is back, it goes out.
    await pool.execute("UPDATE data_keys SET wrapped_key = $2 WHERE user_id = $1", lost.user_id, key)
    await make_due(pool)
    await sending.send_due()
    assert [address for address, _ in mailer.sent] == [other.email, lost.email]


async def test_a_mail_that_its_sender_dies_of_each_time_is_given_up_too(pool: Pool) -> None:
    user = await add_user(pool)
    mailer = Recorder([KeyError("a bug") for _ in range(MOST_ATTEMPTS + 5)])
    sending = sending_to(pool, mailer, Clock())
    for _ in range(MOST_ATTEMPTS + 2):
        await sending.send_due()
        await make_due(pool)
    assert len(mailer.sent) == MOST_ATTEMPTS
    assert await outcomes(pool, user.user_id) == [("NEEDLESS", MOST_ATTEMPTS)]


async def test_who_dies_while_sending_has_the_same_mail_sent_again_after_the_lease(pool: Pool) -> None:
    user = await add_user(pool)
    mailer = Recorder([asyncio.CancelledError()])
    sending = sending_to(pool, mailer, Clock())
    await asyncio.gather(sending.send_due(), return_exceptions=True)
    assert await outcomes(pool, user.user_id) == [(None, 1)]
    assert await sending.send_due() == 0, "the lease was not kept"
    await make_due(pool)
    assert await sending.send_due() == 1
    first, second = mailer.sent
    # To the letter: the same Message-ID, the same token.
    assert first == second
    assert await outcomes(pool, user.user_id) == [("SENT", 2)]


async def test_who_comes_back_after_the_lease_changes_nothing(pool: Pool) -> None:
    user = await add_user(pool)
    async with transaction(pool) as conn:
        due = await store.list_due(conn, VAULT, 10)
        mails = [each.mail for each in due if each.mail]
        (late,) = await store.claim_mails(conn, mails, timedelta())
    await make_due(pool)
    async with connection(pool) as conn:
        (other,) = await store.claim_mails(conn, mails, timedelta(minutes=1))
        await store.postpone_mail(conn, late, timedelta())
        assert await store.list_due(conn, VAULT, 10) == []
    assert other.claim_id != late.claim_id
    assert await outcomes(pool, user.user_id) == [(None, 2)]


async def test_mails_are_forgotten_after_their_time_and_not_before(
    pool: Pool, users_database: DatabaseHandle
) -> None:
    users = [await add_user(pool) for _ in range(3)]
    await sending_to(pool, Recorder(), Clock()).send_due()
    minute = timedelta(minutes=1)
    await age(
        users_database, dict(zip(users, (MAILS_KEPT + minute, MAILS_KEPT - minute, minute), strict=True))
    )
    while await Forgetting(pool, [store.forget_mails]).forget():
        pass
    assert [len(await outcomes(pool, user.user_id)) for user in users] == [0, 1, 1]


async def test_what_counts_is_forgotten_after_an_hour_and_cannot_be_before(
    pool: Pool, users_database: DatabaseHandle
) -> None:
    boxes = [uuid4().bytes * 2 for _ in range(2)]
    hour, minute = COUNTS_KEPT, timedelta(minutes=2)
    async with connection(pool) as conn:
        for box, old in zip(boxes, (hour + minute, hour - minute), strict=True):
            counted_at = datetime.now(UTC) - old
            await store.append_counted(conn, [(box, Kind.CONFIRM_EMAIL)], now=counted_at)
    while await Forgetting(pool, [store.forget_counted]).forget():
        pass
    count = "SELECT count(*) FROM counted_mails WHERE mailbox = ANY($1)"
    assert await pool.fetchval(count, boxes) == 1
    await pool.execute("DELETE FROM counted_mails")
    assert await pool.fetchval(count, boxes) == 1


async def test_processes_side_by_side_count_together(pool: Pool) -> None:
    name, domain = some_email().split("@")
    for number in range(10):
        await add_user(pool, f"{name}+{number}@{domain}")
    mailers = [Recorder() for _ in range(3)]
    while await pool.fetchval("SELECT count(*) FROM outgoing_mails WHERE due_time <= now()"):
        await asyncio.gather(*(sending_to(pool, mailer, Clock()).send_due() for mailer in mailers))
    assert sum(len(mailer.sent) for mailer in mailers) == MOST_AT_ONCE


async def test_the_service_cannot_delete_a_mail_of_the_last_day_that_was_tried(
    pool: Pool, users_database: DatabaseHandle
) -> None:
    users = [await add_user(pool) for _ in range(2)]
    await sending_to(pool, Recorder(), Clock()).send_due()
    untried = await add_user(pool)
    day, minute = timedelta(days=1), timedelta(minutes=1)
    await age(users_database, dict(zip(users, (day + minute, day - minute), strict=True)))
    ids = [user.user_id for user in (*users, untried)]
    await pool.execute("DELETE FROM outgoing_mails WHERE user_id = ANY($1)", ids)
    assert [len(await outcomes(pool, user_id)) for user_id in ids] == [0, 1, 0]


async def age(handle: DatabaseHandle, ages: dict[accounts.User, timedelta]) -> None:
    owner = await asyncpg.connect(handle.owner_dsn)
    await owner.executemany(
        """
        UPDATE outgoing_mails
           SET create_time = now() - $2::interval, expire_time = now() - $2::interval + interval '1 day'
         WHERE user_id = $1
        """,
        [(user.user_id, each) for user, each in ages.items()],
    )
    await owner.close()


async def write_some(mailer: FolderMailer, count: int) -> list[Mail]:
    letters = Letters("Shop", "no-reply@shop.example", None)
    # Names are in the order of time because ids are.
    mails = [
        Mail(UUID(int=number), Kind.CONFIRM_EMAIL, uuid4(), "a@b.c", NOW, NOW, 0) for number in range(count)
    ]
    for mail in mails:
        await mailer.send(letters.write(mail, "t" * 64), mail.email)
    return mails


async def test_files_of_mails_are_their_owners_alone_and_the_oldest_go(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    folder.mkdir(mode=0o755)
    mails = await write_some(FolderMailer(folder, most_files=5), 8)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == [f"{mail.mail_id}.eml" for mail in mails[3:]]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


async def test_a_mail_that_is_sent_again_is_one_file(tmp_path: Path) -> None:
    await write_some(FolderMailer(tmp_path), 1)
    await write_some(FolderMailer(tmp_path), 1)
    assert len(mails_in(tmp_path)) == 1


async def test_a_folder_that_cannot_be_written_fails_the_mail_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("services.user.mail.folder.os.fsync", full)
    with pytest.raises(MailFailed):
        await write_some(FolderMailer(tmp_path), 1)
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []
