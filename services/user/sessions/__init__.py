"""Log-ins, and the tokens that prove who calls."""
