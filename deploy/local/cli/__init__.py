"""The `mesh` command: what a person types."""
