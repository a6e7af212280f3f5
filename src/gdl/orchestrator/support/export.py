"""A deployment in the words of other tools, as its journal tells it; without any secret."""

from __future__ import annotations

from gdl.domain.deployment import replayed
from gdl.handover.targets import written
from gdl.journal.store import Journal
from gdl.orchestrator.support.bundle import known_secrets
from gdl.orchestrator.support.redact import REMOVED
from gdl.settings import Settings

_SHORTEST = 12
"""Characters of a secret that is looked for: shorter ones are ordinary words as well."""


async def exported(deployment_id: str, target: str, journal: Journal, settings: Settings) -> str:
    """The text of the file. target: one of `gdl.handover.targets.TARGETS`. Raises UsageError for a
    deployment that cannot be handed over, GdlError when the journal cannot be read."""
    state = replayed(deployment_id, await journal.events(deployment_id))
    rentals = [r for r in await journal.rentals() if r.deployment_id == deployment_id]
    text = written(state, target)
    # None comes here by our own doing; what a user has put into an argument may be one.
    for secret in (each.strip() for each in known_secrets(settings, rentals)):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, REMOVED)
    return text
