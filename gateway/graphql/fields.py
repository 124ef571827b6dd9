"""The one table of the fields that a call answers. Types, arguments and costs come from the contract."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_PRODUCTS = "commerce.product.v1.ProductService/"
_CATEGORIES = "commerce.product.v1.CategoryService/"
_INVENTORY = "commerce.product.v1.InventoryService/"

# One field of an answer, in the unit of `@cost`: what the app spends on it, beside the calls.
FIELD_WEIGHT = 0.2
# What a page has by itself (ListProductsRequest.page_size), and what it takes the place of.
PAGE_SIZE = 25
NEXT_PAGE = "next_page_token"


@dataclass(frozen=True, kw_only=True)
class Rpc:
    """A field of the schema that a method of the contract answers."""

    # The type that has the field.
    parent: str
    name: str
    # "package.Service/Method"
    method: str
    # Fields of the request that the parent knows, by name: the parent's own field.
    given: Mapping[str, str] = field(default_factory=dict)
    # Fields of the request that mean nothing here.
    without: frozenset[str] = frozenset()
    # The parent's field that holds an id. The ids of many parents are asked for in one call, whose request
    # has a list of them and whose answer has one message for each, in their order (AIP-231).
    key: str = ""
    # What a page's type is called before `Connection`; empty: as what stands in it.
    connection: str = ""


RPCS = (
    Rpc(parent="Query", name="product", method=_PRODUCTS + "GetProduct"),
    Rpc(parent="Query", name="productsById", method=_PRODUCTS + "BatchGetProducts"),
    Rpc(parent="Query", name="products", method=_PRODUCTS + "ListProducts"),
    Rpc(
        parent="Query",
        name="searchProducts",
        method=_PRODUCTS + "SearchProducts",
        connection="ProductSearch",
    ),
    Rpc(parent="Query", name="suggestProducts", method=_PRODUCTS + "SuggestProducts"),
    Rpc(parent="Query", name="category", method=_CATEGORIES + "GetCategory"),
    Rpc(parent="Query", name="categories", method=_CATEGORIES + "ListCategories"),
    Rpc(parent="Query", name="stock", method=_INVENTORY + "GetStock"),
    Rpc(parent="Product", name="category", method=_CATEGORIES + "BatchGetCategories", key="category_id"),
    Rpc(parent="Product", name="stock", method=_INVENTORY + "BatchGetStock", key="product_id"),
    Rpc(parent="Category", name="parent", method=_CATEGORIES + "BatchGetCategories", key="parent_id"),
    Rpc(
        parent="Category",
        name="children",
        method=_CATEGORIES + "ListCategories",
        given={"parent_id": "category_id"},
        without=frozenset({"roots_only"}),
    ),
    Rpc(
        parent="Category",
        name="products",
        method=_PRODUCTS + "ListProducts",
        given={"category_id": "category_id"},
    ),
)
# Which fields are wanted, the query itself says.
LEFT_OUT = frozenset({"read_mask"})
# How many messages a list has at the most, where no argument says it.
LIST_SIZES = {
    "commerce.product.v1.Facet.values": 20,
    "commerce.product.v1.SearchProductsResponse.facets": 5,
    # The default location, and all that there may be.
    "commerce.product.v1.Stock.locations": 101,
    "commerce.product.v1.SuggestProductsResponse.suggestions": 8,
}
