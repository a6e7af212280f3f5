"""A model hub of a few repositories that speaks the real one's HTTP interface."""
