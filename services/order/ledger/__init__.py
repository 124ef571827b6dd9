"""The books: what payments moved between accounts."""
