"""GraphQL: what a query may cost, how it is read, which calls answer it. gateway/graphql/ has its schema."""
