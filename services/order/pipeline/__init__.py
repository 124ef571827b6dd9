"""The way of orders from placing to their end."""
