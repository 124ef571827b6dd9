"""Contract → OpenAPI 3.1."""
