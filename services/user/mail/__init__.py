"""What is written to people, and how it reaches them."""
