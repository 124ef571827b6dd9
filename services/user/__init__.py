"""The user service: people, their accounts, their log-ins, and the tokens that prove who calls."""
