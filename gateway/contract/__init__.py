"""The contract, read and checked."""
