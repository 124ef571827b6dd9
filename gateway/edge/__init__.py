"""Contract → configuration of the edge (Envoy)."""
