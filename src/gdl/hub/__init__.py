"""What models there are and what they are: the hub's own metadata, kept answers, GGUF headers."""
