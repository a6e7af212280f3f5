"""Conversations with models, kept as files."""
