"""Calls the services of Commerce Mesh, and follows their events.

from commerce.product.v1.product_pb2 import GetProductRequest
from commerce.product.v1.product_pb2_grpc import ProductServiceStub
from commerce_mesh_client import Identity, connect, deadline

identity = Identity.from_files("ca.crt", "tls.crt", "tls.key")
async with connect("product", "localhost:50052", identity=identity) as products:
    with deadline(2.0):
        product = await ProductServiceStub(products).GetProduct(GetProductRequest(product_id=...))
"""

from commerce_mesh_client.blocking import BlockingClient, connect_blocking
from commerce_mesh_client.client import Client, connect
from commerce_mesh_client.deadlines import deadline, remaining_seconds
from commerce_mesh_client.errors import (
    Aborted,
    AlreadyExists,
    CallError,
    Cancelled,
    ClientClosed,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
    Violation,
)
from commerce_mesh_client.identity import Identity, Token
from commerce_mesh_client.positions import FilePosition, PositionStore

__all__ = [
    "Aborted",
    "AlreadyExists",
    "BlockingClient",
    "CallError",
    "Cancelled",
    "Client",
    "ClientClosed",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FilePosition",
    "Identity",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "PositionStore",
    "ResourceExhausted",
    "Token",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "Violation",
    "connect",
    "connect_blocking",
    "deadline",
    "remaining_seconds",
]
