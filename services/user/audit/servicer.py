"""AuditService: reading the audit log."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import grpc
from commerce.user.v1 import audit_pb2, audit_pb2_grpc

from services.rpc.fields import read_optional_time
from services.rpc.identity import caller
from services.storage.paging import Pages
from services.storage.postgres import Pool, connection, transaction
from services.user.accounts.ownership import owned_user_id
from services.user.audit import store
from services.user.audit.domain import AuditKind, Happening
from services.user.audit.messages import chained_message, head_message, kind_of, message_for
from services.user.audit.recording import record

Context = grpc.aio.ServicerContext[Any, Any]


class _PositionKey(NamedTuple):
    position: int


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """What happened to accounts, and who did it."""

    def __init__(self, pool: Pool, pages: Pages, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._pages = pages
        self._clock = clock

    async def ListAuditEvents(
        self, request: audit_pb2.ListAuditEventsRequest, context: Context
    ) -> audit_pb2.ListAuditEventsResponse:
        """List events, newest first; what an administrator reads is itself one, once a list."""
        sees_all = caller().acts_for_any
        is_everybodys = sees_all and not request.user_id
        user_id = None if is_everybodys else owned_user_id(request.user_id)
        # "me", nothing and the id name one list: a token of one is good for the others.
        request.user_id = "" if user_id is None else str(user_id)
        reader = caller().require_subject()
        page = self._pages.open(request, _PositionKey, owner=reader)
        async with transaction(self._pool) as conn:
            found = await store.list_events(
                conn,
                before=page.after.position if page.after else store.AFTER_ALL,
                limit=page.limit,
                user_id=user_id,
                kind=kind_of(request.kind),
                since=read_optional_time(request, "occur_time_from"),
                until=read_optional_time(request, "occur_time_before"),
            )
            if sees_all and user_id != reader and page.after is None:
                kind = AuditKind.AUDIT_EVENTS_LISTED
                await record(conn, Happening(kind=kind, user_id=user_id, occur_time=self._clock()))
        to_message = chained_message if sees_all else partial(message_for, reader=reader)
        events, token = await page.cut(found, to_message, lambda each: _PositionKey(each.position))
        return audit_pb2.ListAuditEventsResponse(audit_events=events, next_page_token=token)

    async def GetAuditHead(
        self, request: audit_pb2.GetAuditHeadRequest, context: Context
    ) -> audit_pb2.AuditHead:
        """Say where the log ends and where it begins."""
        async with connection(self._pool) as conn:
            return head_message(await store.head(conn), await store.checkpoint(conn))
