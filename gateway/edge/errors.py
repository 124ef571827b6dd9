"""What is wrong with the place that an edge is to be configured for."""


class EdgeSettingsError(Exception):
    """A place that Envoy cannot be configured for; the message says what to change."""
