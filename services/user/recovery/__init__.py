"""What people do with the tokens that are sent to them: confirm an address, set a new password."""
