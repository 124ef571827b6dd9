"""Searches by an index in files, which is made of the service's own log; its truth is the database."""
