"""What is kept of people alone: encrypted, each under a key of their own, and found by a keyed hash."""
