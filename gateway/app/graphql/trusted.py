"""The list of the only queries that a place answers, where it has one: a file of JSON, by their hashes."""

import hashlib
import json
from collections.abc import Mapping

from services.settings import existing_file


def query_list(path: str) -> Mapping[str, str]:
    """Read a list of queries: an object of their texts, each by its SHA-256 in small hexadecimal digits.

    Raises:
        ValueError: the file cannot be read, has none, or one has another hash than it says.
    """
    queries = json.loads(existing_file(path).read_bytes())
    if not isinstance(queries, dict) or not queries:
        raise ValueError(f"names {path}, which is no object of JSON with queries")
    for name, text in queries.items():
        if not isinstance(text, str) or hashlib.sha256(text.encode()).hexdigest() != name:
            raise ValueError(f"names {path}, where {name[:64]} is not the SHA-256 of its query")
    return queries
