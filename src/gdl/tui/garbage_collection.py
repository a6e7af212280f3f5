"""Python's garbage collector, kept from walking over everything while somebody types.

A full collection walks over all that lives: with ten thousand offers it takes 100 ms, and comes
when it likes. Here it comes at a time of our choosing, and what has survived it is no part of the
later ones.
"""

from __future__ import annotations

import gc


def settle() -> None:
    """Collect now. For a process that is this program's alone: it changes what later collections
    look at."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
