"""How a deployment's parts ask each other for an attempt, and have one begun."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from gdl.domain.rental import Rental
from gdl.orchestrator.deployment.context import Deployment

if TYPE_CHECKING:
    # With all that is done on machines: not imported before there is an attempt.
    from gdl.orchestrator.run.attempt import Attempt

MakeAttempt = Callable[[Deployment, str], "Attempt"]
"""An attempt of a deployment on the backend of that name."""
Begin = Callable[["Attempt"], Awaitable[None]]
Reopen = Callable[[Deployment, Rental, "Attempt"], Awaitable[None]]
"""From a rented session to a verified endpoint again. Raises GdlError."""
