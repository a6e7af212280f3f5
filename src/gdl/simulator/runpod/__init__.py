"""A stand-in for the marketplace RunPod: its REST v2, and of GraphQL what its own package asks."""
