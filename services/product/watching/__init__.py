"""Changes of products and of stock, as they happen."""
