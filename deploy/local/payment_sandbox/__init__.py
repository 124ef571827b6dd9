"""A payment provider to develop and test against: stateful, idempotent by key, with tokens that misbehave."""
