"""A deployment in the words of other tools, as its journal tells it; without any secret."""

from __future__ import annotations

from gdl.domain.deployment import DeploymentState, replayed
from gdl.domain.fleet import replayed_fleet
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
    return await _without_secrets(written(state, target), [deployment_id], journal, settings)


async def exported_fleet(fleet_id: str, target: str, journal: Journal, settings: Settings) -> str:
    """Likewise, of a fleet: by the replica that was begun last and came to a server, those that
    have not ended first."""
    fleet = replayed_fleet(fleet_id, await journal.events(fleet_id))
    known = sorted(fleet.replicas.values(), key=lambda r: (r.ended is None, r.generation, r.since))
    state = DeploymentState(fleet_id)
    for replica in reversed(known):
        state = replayed(replica.id, await journal.events(replica.id))
        if any(attempt.server is not None for attempt in state.attempts):
            break
    text = written(state, target, fleet)
    return await _without_secrets(text, list(fleet.replicas), journal, settings)


async def _without_secrets(
    text: str, deployments: list[str], journal: Journal, settings: Settings
) -> str:
    rentals = [r for r in await journal.rentals() if r.deployment_id in deployments]
    # None comes here by our own doing; what a user has put into an argument may be one.
    for secret in (each.strip() for each in known_secrets(settings, rentals)):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, REMOVED)
    return text
