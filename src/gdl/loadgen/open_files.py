"""How many connections a process may have open: each is an open file, or two."""

from __future__ import annotations

import contextlib

_OURS = 64
"""Files that are none of the connections to the server: libraries, pipes, what is opened anew."""
_EACH = 2
"""Of each connection: its own, and its twin (`gdl.loadgen.arrival`)."""


def most_connections() -> int | None:
    """What the system lets a process have, after asking it for the most: the usual limit of open
    files is 1024. None: as many as wanted."""
    try:
        import resource
    except ImportError:
        return None
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        limit = most
    return None if limit == resource.RLIM_INFINITY else max((limit - _OURS) // _EACH, 1)
