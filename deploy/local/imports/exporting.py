"""The shop's products as ProductService.ExportProducts tells of them and `mesh import` reads them back."""

import json
from collections.abc import Callable, Iterator

import grpc
from commerce.product.v1.product_pb2 import ExportedProduct, ExportProductsRequest
from commerce.product.v1.product_pb2_grpc import ProductServiceStub
from google.protobuf import json_format

from deploy.local.errors import MeshError
from deploy.local.shop import clients

# As the contract's deadline.
_EXPORT_SECONDS = 300


def exported(channel: grpc.Channel, token: str, supplier: str = "") -> Iterator[ExportedProduct]:
    """Yield all products as they were at one moment, or those that may be a supplier's.

    Which its rows made its records say. A product without any supplier, whose sku looks like one of its own,
    is the shop's, or of before there were records: who asks decides.

    Raises:
        MeshError: it broke off.
    """
    request = ExportProductsRequest(sku_prefix=f"{supplier}-" if supplier else "")
    call = ProductServiceStub(channel).ExportProducts(
        request, metadata=clients.bearer(token), timeout=_EXPORT_SECONDS
    )
    try:
        for answer in call:
            yield from (each for each in answer.products if _may_be_of(each, supplier))
    except grpc.RpcError as error:
        told = f"The export broke off: {error.code().name}: {error.details()}"
        raise MeshError(told, "Repeat it when the mesh is well.") from error
    finally:
        call.cancel()


def _may_be_of(each: ExportedProduct, supplier: str) -> bool:
    return not supplier or each.supplier in ("", supplier)


def line_of(each: ExportedProduct) -> str:
    """Write a product as a line of JSON in the shop's own form."""
    product = each.product
    values = {
        "sku": product.sku,
        "name": product.name,
        # With its zeros: a price without units and nanos is none.
        "price": json_format.MessageToDict(product.price, always_print_fields_with_no_presence=True),
        "description": product.description,
        "brand": product.brand,
        "category_path": list(each.category_path),
        "image_urls": list(product.image_urls),
        "active": product.active,
        "attributes": dict(product.attributes),
    }
    return json.dumps(values, ensure_ascii=False)


def write_lines(products: Iterator[ExportedProduct], write: Callable[[str], object]) -> int:
    """Write products a line each, and return how many those were."""
    count = 0
    for each in products:
        write(line_of(each) + "\n")
        count += 1
    return count
