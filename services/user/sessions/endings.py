"""What has ended access tokens lately, in pages: for each process that verifies them, this one among them."""

from datetime import timedelta
from uuid import UUID

from commerce.user.v1 import auth_pb2

from services.rpc.endings import TOKEN_SECONDS
from services.rpc.endings_feed import Source
from services.rpc.feed import EventFeedServicer
from services.storage.events import EventLog
from services.storage.postgres import Pool, connection
from services.user.sessions.endings_store import list_endings

# A minute more than a token lives, because transactions commit in another order than they begin, and clocks
# differ.
_WITHIN = timedelta(seconds=TOKEN_SECONDS + 60.0)
# About 40 KB, read and written in 10 ms: other calls wait no longer.
_PAGE_ENDINGS = 2_000


class Ended:
    """Reads what has ended.

    Args:
        pool: The service's database.
        event_log: Its log.
    """

    def __init__(self, pool: Pool, event_log: EventLog) -> None:
        self._pool = pool
        self._event_log = event_log

    async def page(self, request: auth_pb2.ListEndingsRequest) -> auth_pb2.ListEndingsResponse:
        """Return one page. Its position is read first: all that stands up to there has committed by then."""
        position = await self._event_log.head()
        after = UUID(request.after) if request.after else None
        async with connection(self._pool) as conn:
            rows = await list_endings(conn, within=_WITHIN, after=after, limit=_PAGE_ENDINGS)
        answer = auth_pb2.ListEndingsResponse(position=position)
        for row in rows:
            kind, _, name = row["stream"].partition("/")
            if kind == "session":
                answer.session_ids.append(UUID(name).bytes)
            else:
                answer.accounts.add(user_id=UUID(name).bytes, version=row["version"])
        if len(rows) == _PAGE_ENDINGS:
            answer.next_after = str(rows[-1]["event_id"])
        return answer

    def source(self, feed: EventFeedServicer) -> Source:
        """Return what this process itself hears of endings by, as others do."""
        return Source(self.page, feed.follow)
