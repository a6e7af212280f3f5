"""A stand-in for the marketplace Vast.ai, which speaks its protocol as the official client does."""
