"""MatchService: messages to matches and back, and where each transaction begins and ends."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import grpc
from commerce.product.v1 import match_pb2, match_pb2_grpc

from services.product.suppliers import match_store, merging, store
from services.product.suppliers.matcher import Matcher
from services.product.suppliers.messages import match_message, record_message
from services.product.suppliers.records import Match, State
from services.product.turns import Turns
from services.storage.paging import IdKey, Pages
from services.storage.postgres import Connection, Pool, connection, transaction

Context = grpc.aio.ServicerContext[Any, Any]

_PROPOSED = match_pb2.MATCH_STATE_PROPOSED


class MatchServicer(match_pb2_grpc.MatchServiceServicer):
    """Which products of several suppliers are one."""

    def __init__(self, pool: Pool, pages: Pages) -> None:
        self._pool = pool
        self._pages = pages
        self._matcher = Matcher(pool)
        # A round takes some tenths of a second of a core.
        self._rounds = Turns(at_once=1, waiting=4)

    async def FindMatches(
        self, request: match_pb2.FindMatchesRequest, context: Context
    ) -> match_pb2.FindMatchesResponse:
        """Look at the next records."""
        async with self._rounds.turn():
            found = await self._matcher.find(propose_only=request.propose_only)
        return match_pb2.FindMatchesResponse(
            record_count=found.looked_at,
            merged_count=found.merged,
            proposed_count=found.proposed,
            is_done=found.is_done,
        )

    async def ListMatches(
        self, request: match_pb2.ListMatchesRequest, context: Context
    ) -> match_pb2.ListMatchesResponse:
        """List matches in one state, the newest first."""
        page = self._pages.open(request, IdKey)
        before = page.after.id if page.after else None
        state = State(match_pb2.MatchState.Name(request.state or _PROPOSED).removeprefix("MATCH_STATE_"))
        async with connection(self._pool) as conn:
            found = await match_store.list_matches(conn, state, before, page.limit)
        matches, token = await page.cut(found, match_message, lambda match: IdKey(match.match_id))
        return match_pb2.ListMatchesResponse(matches=matches, next_page_token=token)

    async def ListSupplierRecords(
        self, request: match_pb2.ListSupplierRecordsRequest, context: Context
    ) -> match_pb2.ListSupplierRecordsResponse:
        """List the records at a product."""
        page = self._pages.open(request, IdKey)
        after = page.after.id if page.after else None
        async with connection(self._pool) as conn:
            found = await store.list_records(conn, UUID(request.product_id), after, page.limit)
        records, token = await page.cut(found, record_message, lambda record: IdKey(record.record_id))
        return match_pb2.ListSupplierRecordsResponse(supplier_records=records, next_page_token=token)

    async def AcceptMatch(self, request: match_pb2.AcceptMatchRequest, context: Context) -> match_pb2.Match:
        """Merge what was proposed."""
        return await self._decide(merging.accept, request.match_id)

    async def RejectMatch(self, request: match_pb2.RejectMatchRequest, context: Context) -> match_pb2.Match:
        """Say that two records are not one product."""
        return await self._decide(merging.reject, request.match_id)

    async def UndoMatch(self, request: match_pb2.UndoMatchRequest, context: Context) -> match_pb2.Match:
        """Take a merge back."""
        return await self._decide(merging.undo, request.match_id)

    async def _decide(
        self, decide: Callable[[Connection, UUID], Awaitable[Match]], match_id: str
    ) -> match_pb2.Match:
        async with transaction(self._pool) as conn:
            match = await decide(conn, UUID(match_id))
        return match_message(match)
