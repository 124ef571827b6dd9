"""How good search is by judgments of people: NDCG@10 over the icecat catalogue, by halves of the queries.

`python -m tests.bench.relevance URL FOLDER` asks a mesh at URL, such as http://localhost:8080, for the
queries in icecat_judgments.csv of the folder. It has imported icecat_19k.jsonl.gz of the folder, and runs
with `mesh up --no-keep-answers --rate-limit-scale 100`. Unjudged products count as 0.
"""

import argparse
import asyncio
import csv
import math
from collections import defaultdict
from pathlib import Path
from statistics import mean

import aiohttp

# Query, product, gain.
Judgments = dict[str, dict[str, int]]
_HITS = 10


def read_judgments(folder: Path) -> Judgments:
    """Return the gain of each judged product of each query: 2^rating - 1."""
    found: Judgments = defaultdict(dict)
    with (folder / "icecat_judgments.csv").open() as file:
        for row in csv.DictReader(file):
            found[row["query"]][f"icecat-{row['docid']}"] = 2 ** int(row["rating"]) - 1
    return {query: gains for query, gains in found.items() if any(gains.values())}


def ndcg(gains: dict[str, int], skus: list[str]) -> float:
    """Return how near an answer is to the best one, from 0 to 1."""
    best = sorted(gains.values(), reverse=True)
    return _discounted([gains.get(sku, 0) for sku in skus]) / _discounted(best)


def _discounted(gains: list[int]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains[:_HITS]))


async def measure(session: aiohttp.ClientSession, judgments: Judgments) -> dict[str, float]:
    """Return the NDCG@10 of each query."""
    return {query: ndcg(gains, await _search(session, query)) for query, gains in judgments.items()}


async def _search(session: aiohttp.ClientSession, query: str) -> list[str]:
    asked = {"query": query, "pageSize": str(_HITS)}
    async with session.get("/v1/products:search", params=asked, raise_for_status=True) as answer:
        return [product["sku"] for product in (await answer.json()).get("products", [])]


def halves(judgments: Judgments) -> tuple[list[str], list[str]]:
    """Return every other query: tune on the first half alone."""
    queries = sorted(judgments)
    return queries[::2], queries[1::2]


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    judgments = read_judgments(asked.folder)
    async with aiohttp.ClientSession(asked.url) as session:
        found = await measure(session, judgments)
    tuned, kept = halves(judgments)
    print(
        f"NDCG@{_HITS}: all {mean(found.values()):.3f}, half to tune on {mean(found[q] for q in tuned):.3f}, "
        f"half kept back {mean(found[q] for q in kept):.3f}; at 0: {[q for q in found if not found[q]]}"
    )
    print(sorted((round(value, 2), query) for query, value in found.items()))


if __name__ == "__main__":
    asyncio.run(_main())
