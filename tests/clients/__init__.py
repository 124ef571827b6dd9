"""Clients that we did not write, generated from what we publish, against a running mesh."""
