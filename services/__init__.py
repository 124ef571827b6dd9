"""Plumbing that at least two services use, one subject a file; a folder for each service."""
