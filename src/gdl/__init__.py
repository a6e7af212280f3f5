"""gdl-tui: a large language model on a rented GPU, from the terminal."""

__version__ = "0.1.0"
