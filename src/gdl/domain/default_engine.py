"""The engine of those who name none: a module of its own, as the settings need nothing else."""

DEFAULT_ENGINE = "vllm"
"""What serves where nobody says it: the only engine of journals and settings that name none."""
