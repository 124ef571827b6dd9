"""Closing an account, and what goes with it: one way for whoever closes one."""

from datetime import datetime

from services.storage.postgres import Connection
from services.user.accounts import domain, store
from services.user.accounts.domain import User
from services.user.mail.store import delete_mails
from services.user.oauth.store import drop_authorizations
from services.user.second_factor.store import delete_second_factor
from services.user.sessions import store as session_store
from services.user.sessions.domain import EndReason


async def close_account(conn: Connection, user: User, now: datetime) -> None:
    """Close an account that this transaction holds.

    Its sessions end, those of clients too. What tells of the person beside the account is deleted; the
    address and the name stay encrypted until the account is erased.
    """
    closed, event = domain.close(user, now)
    await store.delete_user(conn, closed, event)
    reason = EndReason.ACCOUNT_CLOSED
    await session_store.end_sessions(conn, user.user_id, reason, keep=None, now=now)
    await session_store.forget_devices(conn, user.user_id)
    await delete_second_factor(conn, user.user_id)
    await drop_authorizations(conn, user.user_id, exchanged_too=True)
    await delete_mails(conn, user.user_id)
