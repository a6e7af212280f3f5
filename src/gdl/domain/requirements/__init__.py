"""How much memory and disk a model needs: guessed from its size, or worked out from its
configuration."""
