"""Which model hub is asked: the public one, a mirror, or that of the simulated market."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdl.domain import clock
from gdl.domain.ledger import is_simulated
from gdl.hub.lookup import Hub
from gdl.settings import Settings

if TYPE_CHECKING:
    import httpx


def open_hub(settings: Settings) -> Hub:
    """To be closed. Whoever names a hub of their own gets that one on every market."""
    simulated = _simulated if is_simulated(settings.backends[0]) else None
    return Hub(settings, clock.now, simulated=simulated)


def _simulated() -> httpx.AsyncBaseTransport:
    from gdl.backends.sandbox.simulated_hub import transport

    return transport()
