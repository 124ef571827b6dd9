"""Suppliers' records of products, and what matches them."""
