"""The audit log: who did what to accounts, and that nobody has changed what it says."""
