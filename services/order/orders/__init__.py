"""Orders: placed once, cancelled whole."""
