"""What orders hold of the stock."""
