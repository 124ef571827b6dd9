"""Products in bulk."""
