"""Real catalogues as import rows, as a shop's own importer would send them."""

import gzip
import itertools
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from commerce.product.v1 import product_pb2

from services.rpc.fields import to_money

Row = product_pb2.ImportProductsRequest


def bestbuy_rows(folder: Path) -> list[Row]:
    with gzip.open(folder / "bestbuy_3291.json.gz") as file:
        products = json.load(file)
    return [
        Row(
            row_number=number,
            product=product_pb2.Product(
                sku=f"bestbuy-{number}",
                name=each["name"],
                description=each["description"],
                brand=each["brand"],
                price=to_money(Decimal(str(each["price"])), "USD"),
                image_urls=[each["image"]],
                active=True,
            ),
            category_path=each["categories"],
            initial_quantity=5,
        )
        for number, each in enumerate(products, 1)
    ]


def jlcparts_rows(folder: Path, limit: int) -> Iterator[Row]:
    """Rows with prices down to 0.0002, Chinese text, missing descriptions and images."""
    with gzip.open(folder / "jlcparts_116k.jsonl.gz") as file:
        for number, text in enumerate(itertools.islice(file, limit), 1):
            each = json.loads(text)
            breaks = each["price_breaks"] or [{"price": 0}]
            product = product_pb2.Product(
                sku=each["sku"],
                name=each["mpn"] or each["sku"],
                description=each["description"] or "",
                price=to_money(Decimal(str(breaks[-1]["price"])), "USD"),
                attributes={name: str(value) for name, value in each["attributes"].items()},
                image_urls=[each["image_url"]] if each["image_url"] else [],
                active=True,
            )
            yield Row(
                row_number=number,
                product=product,
                category_path=each["category_path"],
                initial_quantity=each["stock"],
            )


def icecat_rows(folder: Path, limit: int) -> Iterator[Row]:
    """Rows without a category, with long titles and up to 200 sparse attributes."""
    with gzip.open(folder / "icecat_19k.jsonl.gz") as file:
        for number, text in enumerate(itertools.islice(file, limit), 1):
            each = json.loads(text)
            attributes = {name: str(value) for name, value in each.items() if name.startswith("attr_")}
            product = product_pb2.Product(
                sku=f"icecat-{each['id']}",
                name=each.get("title", ""),
                description=each.get("short_description", ""),
                brand=each.get("supplier", ""),
                price=to_money(Decimal(each.get("price", 0)) / 100, "EUR"),
                attributes=attributes,
                image_urls=[each[name] for name in ("img_high", "img_low") if each.get(name)],
                active=True,
            )
            yield Row(row_number=number, product=product)
