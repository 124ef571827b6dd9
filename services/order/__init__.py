"""Orders: placed once, paid once, cancelled whole."""
