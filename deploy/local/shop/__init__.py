"""A client of the running mesh: imports, the demo shop, a first order."""
