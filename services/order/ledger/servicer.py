"""LedgerService: what the books say, for staff."""

import asyncio
from typing import Any

import grpc
from commerce.order.v1 import ledger_pb2, ledger_pb2_grpc

from services.order.ledger import store
from services.order.ledger.domain import Balance
from services.rpc.fields import read_optional_id, to_money
from services.storage.postgres import Pool, connection

Context = grpc.aio.ServicerContext[Any, Any]

# A page that is read in a small part of the call's deadline.
_PAGE_ORDERS = 5_000
# Of a process. Who waits has the deadline of the call.
_AT_ONCE = 1


class LedgerServicer(ledger_pb2_grpc.LedgerServiceServicer):
    """Looks through the books."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def VerifyLedger(
        self, request: ledger_pb2.VerifyLedgerRequest, context: Context
    ) -> ledger_pb2.VerifyLedgerResponse:
        """Compare a page of orders with what the books say of them."""
        after = read_optional_id(request.after_order_id)
        async with self._turns, connection(self._pool) as conn:
            verdict = await store.verify(conn, after, _PAGE_ORDERS)
            balances = await store.balances(conn, after, verdict.last)
        return ledger_pb2.VerifyLedgerResponse(
            checked_count=verdict.checked_count,
            divergent_order_ids=map(str, verdict.divergent),
            balances=map(_balance_message, balances),
            next_order_id=str(verdict.last) if verdict.last else None,
        )


def _balance_message(balance: Balance) -> ledger_pb2.AccountBalance:
    return ledger_pb2.AccountBalance(
        account=f"LEDGER_ACCOUNT_{balance.account}",
        debits=to_money(balance.debits, balance.currency),
        credits=to_money(balance.credits, balance.currency),
    )
