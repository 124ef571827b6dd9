"""Load balancers ask a whole mesh for its health, at its edge and without a token."""

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.parts import probes
from tests.support.stack import Stack
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.stack

NAMES = (
    "",
    "commerce.user.v1.UserService",
    "commerce.user.v1.AuthService",
    "commerce.user.v1.RecoveryService",
    "commerce.user.v1.PrivacyService",
    "commerce.product.v1.ProductService",
    "commerce.product.v1.CategoryService",
    "commerce.product.v1.InventoryService",
    "commerce.order.v1.OrderService",
)


@pytest.mark.parametrize("name", NAMES)
def test_each_service_tells_of_its_health_through_the_edge(stack: Stack, name: str) -> None:
    with grpc.insecure_channel(stack.edge_target) as channel:
        answer = check(channel, name)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_what_people_cannot_call_has_no_health(stack: Stack) -> None:
    with grpc.insecure_channel(stack.edge_target) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            check(channel, "commerce.event.v1.EventFeed")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_mesh_that_is_up_is_ready(stack: Stack) -> None:
    assert await probes.http_is_ok(f"{stack.rest_url}/readyz")


def check(channel: grpc.Channel, name: str) -> health_pb2.HealthCheckResponse:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer: health_pb2.HealthCheckResponse = stub.Check(
        health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE_SECONDS
    )
    return answer
