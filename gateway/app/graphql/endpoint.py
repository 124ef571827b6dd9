"""`POST /graphql`: a query in, its answer out."""

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any

from graphql import (
    ExecutionResult,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableValues,
    execute,
    get_variable_values,
)
from grpc import aio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.app.forms import caller_address
from gateway.app.graphql.budgets import Budgets, Places
from gateway.app.graphql.calls import Calls, open_calls
from gateway.app.graphql.documents import Document, Documents
from gateway.app.graphql.introspection import SchemaAnswers
from gateway.app.graphql.refusals import MOST_ERRORS, InvalidQuery, told, told_alone
from gateway.app.graphql.requests import ANSWER_KIND, Asked, is_json, read, takes_answers
from gateway.app.graphql.schema import load_schema, methods
from services.errors import Code, DeadlineExceeded, InvalidArgument, ResourceExhausted, ServiceError
from services.rpc.deadline import set_remaining
from services.rpc.written import WRITTEN

# Half of what the edge waits for (gateway/edge/app.py): each call below gets what is left of it.
_DEADLINE_SECONDS = 5.0
_STATUSES = {
    Code.INVALID_ARGUMENT: 400,
    Code.NOT_FOUND: 404,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 413,
    Code.DEADLINE_EXCEEDED: 504,
}


class GraphQLEndpoint:
    """`/graphql`.

    Args:
        product: The product service.
        tells_schema: Whether queries may ask for the schema.
        trusted: By hash, the only queries that are answered; None: any is.
        scale: What a place multiplies every rate limit by.
    """

    def __init__(
        self,
        product: aio.Channel,
        *,
        tells_schema: bool,
        trusted: Mapping[str, str] | None,
        scale: float = 1.0,
    ) -> None:
        self._schema, self._costs = load_schema()
        self._calls = open_calls(product, methods())
        self._documents = Documents(self._schema, tells_schema=tells_schema, trusted=trusted)
        self._of_schema = SchemaAnswers(self._schema)
        self._budgets = Budgets(scale, time.monotonic)
        self._places = Places()

    async def query(self, request: Request) -> Response:
        """Answer a query. What failed stands in `errors`; without `data` the query itself was refused."""
        request_id = request.headers.get("x-request-id", "")
        if not is_json(request):
            refusal = InvalidArgument("the body must be application/json")
            return _answer(request, {"errors": told_alone(refusal, request_id)}, 415)
        set_remaining(_DEADLINE_SECONDS)
        try:
            asked = await read(request)
        except ServiceError as error:
            return _answer(request, {"errors": told_alone(error, request_id)}, _STATUSES[error.code])
        try:
            with self._places.take(_address(request)):
                async with asyncio.timeout(_DEADLINE_SECONDS):
                    return _answer(request, await self._answered(request, asked, request_id))
        except ResourceExhausted as error:
            return _come_back(request, error, request_id)
        except ServiceError as error:
            refused = error
        except TimeoutError:
            refused = DeadlineExceeded("the query did not finish in time")
        # Of those who do not know the answer's own type some take 200 alone for an answer to a query.
        status = _STATUSES[refused.code] if takes_answers(request) else 200
        return _answer(request, {"errors": told_alone(refused, request_id)}, status)

    async def _answered(self, request: Request, asked: Asked, request_id: str) -> dict[str, Any]:
        document = await self._documents.find(asked.query, asked.digest)
        operation = document.operation(asked.operation)
        variables = _variables(self._schema, operation, asked.variables)
        cost = self._costs.check(operation, document.fragments, variables)
        self._budgets.spend(_address(request), cost)
        async with asyncio.TaskGroup() as tasks:
            calls = Calls(self._calls, _metadata(request), tasks)
            result = await self._executed(document, operation, asked.variables, calls)
        calls.check_answer()
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = told(result.errors, request_id)
        return {**answer, "extensions": {"cost": {"estimated": round(cost, 1), "calls": calls.count}}}

    async def _executed(
        self,
        document: Document,
        operation: OperationDefinitionNode,
        variables: dict[str, Any],
        calls: Calls,
    ) -> ExecutionResult:
        name = operation.name.value if operation.name else None
        if document.asks_for_schema:
            return await self._of_schema.answer(document, name, variables)
        result = execute(self._schema, document.ast, None, calls, variables, name)
        return result if isinstance(result, ExecutionResult) else await result


def _variables(
    schema: GraphQLSchema, operation: OperationDefinitionNode, sent: dict[str, Any]
) -> VariableValues:
    values = get_variable_values(
        schema, operation.variable_definitions or (), sent, MOST_ERRORS, hide_suggestions=True
    )
    if isinstance(values, list):
        raise InvalidQuery(values)
    return values


def _address(request: Request) -> str:
    return request.headers.get("x-forwarded-for", "")


def _metadata(request: Request) -> tuple[tuple[str, str], ...]:
    """Return what tells a service whose call it is and what it must see: the caller's own headers."""
    sent = ((name, request.headers.get(name, "")) for name in ("authorization", WRITTEN))
    return (*caller_address(request), *((name, value) for name, value in sent if value))


def _come_back(request: Request, refused: ResourceExhausted, request_id: str) -> Response:
    """Answer as the edge's own limits do, whichever type of answer the caller takes."""
    answer = _answer(request, {"errors": told_alone(refused, request_id)}, 429)
    answer.headers["retry-after"] = str(math.ceil(refused.retry_after_seconds or 0))
    return answer


def _answer(request: Request, content: Mapping[str, Any], status: int = 200) -> Response:
    kind = ANSWER_KIND if takes_answers(request) else "application/json"
    return JSONResponse(content, status, headers={"cache-control": "no-store"}, media_type=kind)
