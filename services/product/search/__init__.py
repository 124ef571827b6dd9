"""The search for products."""
