"""The contract as a schema of GraphQL: which methods answer which fields, and generated/schema.graphql."""
