"""A module for each command: its options, its help and what it does.

What works for a command is imported when it is called, so that `--help` and wrong usage answer at
once: a module here imports Typer and its neighbours in `gdl.cli`, and the rest inside functions.
"""
