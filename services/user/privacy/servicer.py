"""PrivacyService: what a person may ask of what is kept of them, and what operators do for it."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
from commerce.user.v1 import privacy_pb2, privacy_pb2_grpc

from services.rpc.fields import timestamp
from services.rpc.identity import caller
from services.storage.paging import IdKey, Pages
from services.storage.postgres import Connection, Pool, connection
from services.user.accounts import store as account_store
from services.user.accounts.messages import shown_user
from services.user.accounts.ownership import owned_user_id
from services.user.audit import store as audit_store
from services.user.audit.domain import AuditKind, Happening
from services.user.audit.messages import message_for
from services.user.audit.recording import record
from services.user.oauth import store as oauth_store
from services.user.oauth.domain import Authorization
from services.user.privacy import erasure_store, export_store, store
from services.user.privacy.domain import Erasure
from services.user.privacy.erasing import Erasing
from services.user.privacy.rotation import Rotation
from services.user.privacy.vault import Vault
from services.user.second_factor import store as factor_store
from services.user.second_factor.messages import factor_message
from services.user.sessions.domain import Session
from services.user.sessions.marks_store import read_device_marks_from
from services.user.sessions.messages import shown_session

Context = grpc.aio.ServicerContext[Any, Any]

# Of sessions, of mails and of audit events each: who has more has a program that logs in. Authorizations have
# a bound of their own.
MOST_RECORDS = 1_000


class PrivacyServicer(privacy_pb2_grpc.PrivacyServiceServicer):
    """Exports, erasures and keys."""

    def __init__(
        self,
        pool: Pool,
        pages: Pages,
        *,
        vault: Vault,
        erasing: Erasing,
        rotation: Rotation,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._pages = pages
        self._vault = vault
        self._erasing = erasing
        self._rotation = rotation
        self._clock = clock

    async def ExportUserData(
        self, request: privacy_pb2.ExportUserDataRequest, context: Context
    ) -> privacy_pb2.UserData:
        """Return what is kept of a person."""
        user_id = owned_user_id(request.user_id)
        async with connection(self._pool) as conn:
            user = await account_store.get_user(conn, user_id)
            if user_id != caller().subject:
                kind = AuditKind.ACCOUNT_EXPORTED
                await record(conn, Happening(kind=kind, user_id=user_id, occur_time=self._clock()))
            data = await _kept(conn, user_id)
        if user_id != caller().subject:
            _leave_out_what_guards_them(data)
        data.user.CopyFrom(shown_user(self._vault.opened(user)))
        return data

    async def ListErasures(
        self, request: privacy_pb2.ListErasuresRequest, context: Context
    ) -> privacy_pb2.ListErasuresResponse:
        """List who was erased."""
        page = self._pages.open(request, IdKey)
        async with connection(self._pool) as conn:
            found = await erasure_store.list_erasures(
                conn, after=page.after.id if page.after else None, limit=page.limit
            )
        erasures, token = await page.cut(found, _erasure_message, lambda each: IdKey(each.user_id))
        return privacy_pb2.ListErasuresResponse(erasures=erasures, next_page_token=token)

    async def ReplayErasures(
        self, request: privacy_pb2.ReplayErasuresRequest, context: Context
    ) -> privacy_pb2.ReplayErasuresResponse:
        """Erase who was erased before; doing it again changes nothing."""
        erased = await self._erasing.replay([UUID(each.user_id) for each in request.erasures])
        return privacy_pb2.ReplayErasuresResponse(erased_count=erased)

    async def ListKeyVersions(
        self, request: privacy_pb2.ListKeyVersionsRequest, context: Context
    ) -> privacy_pb2.ListKeyVersionsResponse:
        """Tell which versions of the keys are in use."""
        keys = self._vault.keys
        async with connection(self._pool) as conn:
            counted = await store.count_versions(conn)
            unindexed, plain = await store.count_left(conn, keys.index_version)
            unreadable = await self._rotation.unreadable(conn)
        known = {("data", keys.data_version)}
        known |= {("kek", version) for version in keys.kek} | {("index", version) for version in keys.index}
        rows = dict.fromkeys(known, 0) | {(purpose, version): count for purpose, version, count in counted}
        versions = [
            privacy_pb2.KeyVersion(purpose=key[0], version=key[1], row_count=rows[key], is_known=key in known)
            for key in sorted(rows)
        ]
        return privacy_pb2.ListKeyVersionsResponse(
            versions=versions,
            unindexed_count=unindexed,
            plain_count=plain,
            unreadable=[
                privacy_pb2.UnreadableRow(purpose=each.purpose, user_id=str(each.user_id))
                for each in unreadable
            ],
        )


async def _kept(conn: Connection, user_id: UUID) -> privacy_pb2.UserData:
    """Return what is kept of a person beside their account."""
    most = MOST_RECORDS + 1
    sessions = await export_store.list_all_sessions(conn, user_id, most)
    mails = await export_store.list_mails(conn, user_id, most)
    events = await audit_store.list_events(
        conn, before=audit_store.AFTER_ALL, limit=most, user_id=user_id, kind=None, since=None, until=None
    )
    authorizations = await oauth_store.list_authorizations(conn, user_id, most)
    marks_from = await read_device_marks_from(conn, user_id)
    return privacy_pb2.UserData(
        sessions=map(_session_record, sessions[:MOST_RECORDS]),
        mails=map(_mail_record, mails[:MOST_RECORDS]),
        second_factor=factor_message(await factor_store.read_state(conn, user_id)),
        authorizations=map(_authorization_record, authorizations[:MOST_RECORDS]),
        audit_events=[message_for(each, reader=user_id) for each in events[:MOST_RECORDS]],
        device_marks_from=marks_from and timestamp(marks_from),
        is_cut=max(len(each) for each in (sessions, mails, authorizations, events)) > MOST_RECORDS,
    )


def _leave_out_what_guards_them(data: privacy_pb2.UserData) -> None:
    """Whoever reads somebody else's export learns no value that a client checks, nor of the second factor."""
    data.ClearField("second_factor")
    for authorization in data.authorizations:
        authorization.ClearField("state")
        authorization.ClearField("nonce")


def _mail_record(mail: export_store.SentMail) -> privacy_pb2.MailRecord:
    return privacy_pb2.MailRecord(
        kind=mail.kind, create_time=timestamp(mail.create_time), outcome=mail.outcome
    )


def _authorization_record(authorization: Authorization) -> privacy_pb2.AuthorizationRecord:
    return privacy_pb2.AuthorizationRecord(
        client_id=str(authorization.client_id),
        redirect_uri=authorization.redirect_uri,
        scopes=authorization.scopes,
        state=authorization.state,
        nonce=authorization.nonce,
        auth_time=timestamp(authorization.auth_time),
        decide_time=authorization.decide_time and timestamp(authorization.decide_time),
        session_id=str(authorization.session_id or ""),
    )


def _session_record(session: Session) -> privacy_pb2.SessionRecord:
    return privacy_pb2.SessionRecord(
        session=shown_session(session), end_time=session.end_time and timestamp(session.end_time)
    )


def _erasure_message(erasure: Erasure) -> privacy_pb2.Erasure:
    return privacy_pb2.Erasure(user_id=str(erasure.user_id), erase_time=timestamp(erasure.erase_time))
