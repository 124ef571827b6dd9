"""What an import costs: through the edge, as `mesh import` sends it, beside a raw COPY of the same rows.

`python -m tests.bench.imports [--rows N] [--rounds N] [FILE]`. Both go into the same table with its indexes
and triggers, in turns; COPY writes neither stock nor events, and judges nothing. The same file again says
what an import costs that changes nothing.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from statistics import median

import psutil
from commerce.product.v1.product_pb2 import Product
from rich.console import Console

from deploy.local.imports import choosing
from deploy.local.imports.batches import make_batches
from deploy.local.imports.report import CREATED, UNCHANGED, Report
from deploy.local.imports.rows import Converter
from deploy.local.imports.seen import SeenSkus
from deploy.local.imports.sending import Sender
from deploy.local.imports.texts import TextFile
from deploy.local.shop import clients
from services.rpc.fields import to_decimal
from tests.support.made_rows import made_rows
from tests.support.mesh import Mesh
from tests.support.stack import Stack, running_stack

_COLUMNS = ["sku", "name", "description", "brand", "price", "currency", "attributes", "image_urls", "active"]
_SHOWN_SECONDS = 0.05
_RATE_LIMIT_SCALE = "1000000"


@dataclass(frozen=True)
class _Round:
    """Rows a second."""

    imported: float
    again: float
    copied: float


def _of_file(path: Path) -> Iterator[str]:
    with closing(TextFile(path, "utf-8")) as file:
        yield from file.text


def _write(path: Path, texts: Iterator[str], tag: str) -> int:
    """Write rows as a file whose skus no other round has, and return how many there are."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for text in texts:
            values = json.loads(text)
            file.write(json.dumps({**values, "sku": f"{tag}{values['sku']}"}) + "\n")
            count += 1
    return count


def _import(stack: Stack, path: Path, token: str, expected: str) -> float:
    """Import a file as the command does, and return the rows a second."""
    report = Report()
    begin = time.perf_counter()
    file, mapping = choosing.choose(path, None)
    with clients.edge_channel(stack.place) as channel, closing(SeenSkus()) as seen:
        batches = make_batches(file.read(), Converter(mapping), seen)
        Sender(channel, lambda: token, seen).run(batches, report.add)
    if set(report.counts) != {expected}:
        raise SystemExit(
            f"rows became something else than {expected}: {dict(report.counts)} {report.notes[:3]}"
        )
    return report.rows / (time.perf_counter() - begin)


def _products(path: Path) -> list[Product]:
    file, mapping = choosing.choose(path, None)
    with closing(SeenSkus()) as seen:
        batches = make_batches(file.read(), Converter(mapping), seen)
        return [row.row.request.product for batch in batches for row in batch.rows]


async def _copy(mesh: Mesh, products: list[Product]) -> float:
    """Write rows by COPY, in one transaction, and return the rows a second."""
    records = [
        (
            f"COPY-{each.sku}",
            each.name,
            each.description,
            each.brand,
            to_decimal(each.price),
            each.price.currency_code,
            json.dumps(dict(each.attributes)),
            list(each.image_urls),
            each.active,
        )
        for each in products
    ]
    conn = await mesh.connect("commerce_product")
    try:
        begin = time.perf_counter()
        await conn.copy_records_to_table("products", records=records, columns=_COLUMNS)
        return len(records) / (time.perf_counter() - begin)
    finally:
        await conn.close()


def _spent(stack: Stack) -> dict[str, float]:
    """Return the seconds of processor time by part, ours among them, since each began."""
    spent = {"client": time.process_time()}
    for part in stack.state.parts:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(part.pid) if part.pid else None
            family = [process, *process.children(recursive=True)] if process else []
            spent[part.name] = sum(sum(each.cpu_times()[:4]) for each in family)
    return spent


def _told(before: dict[str, float], after: dict[str, float]) -> str:
    spent = {part: seconds - before.get(part, 0) for part, seconds in after.items()}
    return ", ".join(f"{part} {each:.2f}" for part, each in spent.items() if each > _SHOWN_SECONDS)


def _round(stack: Stack, path: Path, token: str, console: Console) -> _Round:
    products = _products(path)
    spent = [_spent(stack)]
    imported = _import(stack, path, token, CREATED)
    spent.append(_spent(stack))
    again = _import(stack, path, token, UNCHANGED)
    spent.append(_spent(stack))
    copied = asyncio.run(_copy(Mesh(stack.place), products))
    spent.append(_spent(stack))
    rates = zip(("import", "again", "COPY"), (imported, again, copied), pairwise(spent), strict=True)
    for name, rate, (before, after) in rates:
        console.print(f"{name}: {rate:,.0f} rows/s; seconds of processor time: {_told(before, after)}")
    return _Round(imported, again, copied)


def main() -> None:
    """Measure, and print the ratios: medians of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "file", type=Path, nargs="?", help="JSON lines with a sku; without one, rows are made"
    )
    parser.add_argument("--rows", type=int, default=10_000, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    with running_stack("--rate-limit-scale", _RATE_LIMIT_SCALE, seed=False) as stack:
        path, rounds = stack.data_dir / "rows.jsonl", []
        for number in range(asked.rounds):
            texts = islice(_of_file(asked.file), asked.rows) if asked.file else made_rows(asked.rows)
            _write(path, texts, f"R{number}-")
            rounds.append(_round(stack, path, stack.token("merchant"), console))
    console.print(
        f"import / COPY {median(each.imported / each.copied for each in rounds):.2f}; "
        f"again / COPY {median(each.again / each.copied for each in rounds):.2f}"
    )


if __name__ == "__main__":
    main()
