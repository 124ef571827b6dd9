"""The shipping service: what it costs to send things."""
