"""Rows of a catalogue that nobody has, as many as wanted: as large as rows of parts are in real ones."""

import json
import random
from collections.abc import Iterator

_WORDS = 4000


def made_rows(count: int) -> Iterator[str]:
    """Yield rows of an invented catalogue, a JSON object a line, of a size as parts in real ones have."""
    chance = random.Random(count)
    words = ["".join(chance.choices("abcdefghilmnoprstu", k=chance.randint(3, 10))) for _ in range(_WORDS)]
    for number in range(count):
        yield json.dumps(
            {
                "sku": f"ROW-{number}",
                "name": " ".join(chance.choices(words, k=6)),
                "description": " ".join(chance.choices(words, k=30)),
                "brand": chance.choice(words[:200]),
                "price": f"{chance.randint(1, 10**6) / 100:.2f}",
                "currency": "EUR",
                "category_path": [chance.choice(words[:10]), chance.choice(words[:40])],
                "stock": chance.randint(0, 50),
                "attributes": {chance.choice(words[:100]): chance.choice(words) for _ in range(8)},
                "image_urls": [f"https://example.com/{number}.jpg"],
            }
        )
