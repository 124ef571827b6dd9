"""What a log-in asks for beside the password: codes of a device, and recovery codes."""
