"""Files of products, read without guessing: bytes, records, rows by a mapping, and a report of each."""
