"""Sending mails to a real SMTP server, which is well, unwilling, slow, or somebody else."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from deploy.local.parts.certificates import Authority
from services.user.mail.domain import Kind
from services.user.mail.letters import Letters
from services.user.mail.mailers import MailFailed, MailRefused
from services.user.mail.smtp import SmtpMailer, SmtpPlace, Tls
from tests.support.mails import read_mail, token_in
from tests.user.test_letters import ENCODED_HEADERS, mail_of

TOKEN = "t" * 64
ADDRESS = "ada@example.com"
SENDER = "no-reply@shop.example"
# Short where a test waits for its end, long where the end must not come.
SOON, LATE = 0.5, 60.0


@dataclass
class MailServer:
    """What a server takes, and how it answers."""

    # By command: a reply, or None for none at all.
    replies: dict[str, str | None] = field(default_factory=dict)
    taken: list[Envelope] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0
    # A client waits for a reply that does not come.
    is_hanging: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_MAIL(self, _: SMTP, _s: Session, envelope: Envelope, address: str, options: Any) -> str:
        envelope.mail_from = address
        return await self._reply("MAIL")

    async def handle_RCPT(self, _: SMTP, _s: Session, envelope: Envelope, address: str, options: Any) -> str:
        reply = await self._reply("RCPT")
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, _: SMTP, _s: Session, envelope: Envelope) -> str:
        reply = await self._reply("DATA")
        if reply.startswith("250"):
            self.taken.append(envelope)
        return reply

    async def handle_QUIT(self, *_: Any) -> str:
        return await self._reply("QUIT", "221 Bye")

    async def _reply(self, command: str, usual: str = "250 OK") -> str:
        reply = self.replies.get(command, usual)
        if reply is None:
            self.is_hanging.set()
            await asyncio.Event().wait()
        assert reply is not None
        return reply

    def authenticate(self, _: SMTP, _s: Session, _e: Envelope, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"right", handled=False)


@contextlib.asynccontextmanager
async def serving(server: MailServer, host: str = "127.0.0.1", **options: Any) -> AsyncIterator[MailServer]:
    """Run an SMTP server on loopback."""
    loop = asyncio.get_running_loop()

    def connected() -> SMTP:
        return SMTP(server, hostname="mail.test", loop=loop, authenticator=server.authenticate, **options)

    listener = await loop.create_server(connected, host, 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


def mailer_to(server: MailServer, *, tls: Tls = Tls.NONE, seconds: float = LATE) -> SmtpMailer:
    return SmtpMailer(SmtpPlace("localhost", server.port, "", tls), None, seconds)


async def send(mailer: SmtpMailer) -> None:
    message = Letters("Shop", SENDER, None).write(mail_of(Kind.RESET_PASSWORD), TOKEN)
    await mailer.send(message, ADDRESS)


@pytest.fixture
def tls(certificates: Authority, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The TLS of a server named localhost, by an authority that this process trusts."""
    files = certificates.files("public")
    monkeypatch.setenv("SSL_CERT_FILE", str(files.ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    return context


async def test_a_mail_arrives_as_it_was_written() -> None:
    async with serving(MailServer()) as server:
        await send(mailer_to(server))
    (envelope,) = server.taken
    assert (envelope.mail_from, envelope.rcpt_tos) == (SENDER, [ADDRESS])
    assert isinstance(envelope.content, bytes)
    assert token_in(read_mail(envelope.content)) == TOKEN


async def test_an_address_of_an_unusual_kind_arrives_too() -> None:
    async with serving(MailServer()) as server:
        mail = mail_of(Kind.CONFIRM_EMAIL, "o'neil+shop@example.com")
        await mailer_to(server).send(Letters("Shop", SENDER, None).write(mail, TOKEN), mail.email)
    assert server.taken[0].rcpt_tos == [mail.email]


async def test_an_address_that_hides_headers_brings_nothing_to_the_server() -> None:
    mail = mail_of(Kind.CONFIRM_EMAIL, ENCODED_HEADERS)
    async with serving(MailServer()) as server:
        with pytest.raises(MailRefused):
            await mailer_to(server).send(Letters("Shop", SENDER, None).write(mail, TOKEN), mail.email)
    assert server.taken == []


async def test_over_tls_and_with_a_password_a_mail_arrives(tls: ssl.SSLContext, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("right\n")
    options: dict[str, Any] = {"tls_context": tls, "require_starttls": True, "auth_required": True}
    async with serving(MailServer(), **options) as server:
        place = SmtpPlace("localhost", server.port, "shop", tls=Tls.UPGRADED)
        await send(SmtpMailer(place, tmp_path / "password"))
        assert server.logins == [("shop", "right")]
        (tmp_path / "password").write_text("rotated")
        with pytest.raises(MailFailed) as failed:
            await send(SmtpMailer(place, tmp_path / "password"))
    assert "535" in failed.value.cause
    assert not isinstance(failed.value, MailRefused), "a wrong password is ours to mend"
    assert len(server.taken) == 1


async def test_without_the_file_of_its_password_a_mail_waits(tmp_path: Path) -> None:
    async with serving(MailServer()) as server:
        mailer = SmtpMailer(SmtpPlace("localhost", server.port, "shop", tls=Tls.NONE), tmp_path / "gone")
        with pytest.raises(MailFailed) as failed:
            await send(mailer)
    assert not isinstance(failed.value, MailRefused)
    assert server.taken == []


async def test_a_server_without_starttls_gets_neither_mail_nor_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("right")
    async with serving(MailServer(), auth_require_tls=False) as server:
        place = SmtpPlace("localhost", server.port, "shop", tls=Tls.UPGRADED)
        with pytest.raises(MailFailed):
            await send(SmtpMailer(place, tmp_path / "password"))
    assert (server.taken, server.logins) == ([], [])


async def test_a_server_whom_nobody_vouches_for_gets_no_mail(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    async with serving(MailServer(), tls_context=tls) as server:
        with pytest.raises(MailFailed):
            await send(mailer_to(server, tls=Tls.UPGRADED))
    assert server.taken == []


async def test_a_server_of_another_name_gets_no_mail(tls: ssl.SSLContext) -> None:
    async with serving(MailServer(), "127.0.0.2", tls_context=tls) as server:
        with pytest.raises(MailFailed):
            await send(SmtpMailer(SmtpPlace("127.0.0.2", server.port, "", tls=Tls.UPGRADED), None))
    assert server.taken == []


@pytest.mark.parametrize(
    ("command", "reply", "is_final"),
    [
        ("MAIL", "451 later", False),
        ("MAIL", "550 we know no such sender", False),
        ("RCPT", "450 the mailbox is busy", False),
        ("RCPT", "550 ada@example.com is not here", True),
        ("DATA", "452 the disk is full", False),
        ("DATA", "554 this is spam", True),
    ],
)
async def test_a_refusal_is_final_if_it_is_of_the_mail_and_for_good(
    command: str, reply: str, *, is_final: bool
) -> None:
    async with serving(MailServer({command: reply})) as server:
        with pytest.raises(MailFailed) as failed:
            await send(mailer_to(server))
    assert isinstance(failed.value, MailRefused) == is_final
    assert reply[:3] in failed.value.cause
    # A server's words name whom they are about.
    assert reply[4:] not in failed.value.cause
    assert server.taken == []


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_a_server_that_hangs_is_left_in_time(command: str) -> None:
    async with serving(MailServer({command: None})) as server:
        with pytest.raises(MailFailed):
            await send(mailer_to(server, seconds=SOON))


async def test_a_server_that_never_greets_is_left_in_time() -> None:
    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        writer.close()

    listener = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    server = MailServer(port=listener.sockets[0].getsockname()[1])
    with pytest.raises(MailFailed):
        await send(mailer_to(server, seconds=SOON))
    listener.close()


async def test_a_server_that_hangs_once_it_has_the_mail_has_it() -> None:
    async with serving(MailServer({"QUIT": None})) as server:
        await send(mailer_to(server))
    assert len(server.taken) == 1


async def test_where_nobody_listens_a_mail_waits() -> None:
    async with serving(MailServer()) as server:
        pass
    with pytest.raises(MailFailed) as failed:
        await send(mailer_to(server))
    assert not isinstance(failed.value, MailRefused)


async def test_over_tls_from_the_first_byte_a_mail_arrives(tls: ssl.SSLContext, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("right")
    loop, server = asyncio.get_running_loop(), MailServer()

    def connected() -> SMTP:
        return SMTP(
            server, hostname="mail.test", loop=loop, authenticator=server.authenticate, auth_require_tls=False
        )

    listener = await loop.create_server(connected, "127.0.0.1", 0, ssl=tls)
    place = SmtpPlace("localhost", listener.sockets[0].getsockname()[1], "shop", Tls.FROM_THE_FIRST_BYTE)
    await send(SmtpMailer(place, tmp_path / "password"))
    listener.close()
    assert len(server.taken) == 1
