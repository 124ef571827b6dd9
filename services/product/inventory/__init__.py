"""Stock: levels and movements."""
