"""OAuth 2 and OpenID Connect: clients, what people grant them, and the tokens of that."""
