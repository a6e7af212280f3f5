"""The volume of a deployment: one there is, or one that is made for it."""

from __future__ import annotations

from dataclasses import replace

from gdl.cli.consent import Consent, to_rent
from gdl.cli.output import say
from gdl.cli.runtime import Session
from gdl.domain.errors import GdlError, MachineError, NoSuitableOffer, UsageError
from gdl.domain.money import dollars
from gdl.domain.offers import OfferQuery
from gdl.domain.ranking import why_none
from gdl.domain.spec import DeploymentSpec
from gdl.domain.volumes import Volume
from gdl.presentation.lines import plain
from gdl.presentation.money import hourly

_TRIES = 8
"""Offers whose machines are asked for a volume, cheapest first."""
_HOURS_A_MONTH = 730


async def with_volume(
    session: Session, spec: DeploymentSpec, ident: str, size_gb: int | None, said: Consent
) -> DeploymentSpec:
    """The deployment, once agreed to, on machines that can mount the volume of that name or id.
    size_gb: where there is none, one of that name is made, which machines of the cheapest suitable
    offer can mount; None: it must be there. Raises UsageError, Cancelled, NoSuitableOffer,
    MachineError, BackendError."""
    volumes = session.orchestrator.volumes
    listed = await volumes.list()
    there = any(ident in (row.volume.id, row.volume.name) for row in listed.rows)
    if there or size_gb is None or not volumes.keeps:
        spec = _on(spec, await volumes.find(ident))
        return await to_rent(session.orchestrator, spec, said)
    beside = f"a volume of {size_gb} GB is made, which costs until `gdl-tui volumes delete` ends it"
    spec = await to_rent(session.orchestrator, spec, said, beside)
    return _on(spec, await _made(session, ident, size_gb, spec.query))


def _on(spec: DeploymentSpec, volume: Volume) -> DeploymentSpec:
    return replace(spec, query=replace(spec.query, volume=volume))


async def _made(session: Session, ident: str, size_gb: int, query: OfferQuery) -> Volume:
    volumes = session.orchestrator.volumes
    ranked = list(await session.orchestrator.market.offers(query))
    trouble: GdlError = NoSuitableOffer(*why_none(ranked, query))
    for row in [row for row in ranked if row.excluded is None][:_TRIES]:
        try:
            made = await volumes.make(row.offer.id, ident, size_gb)
        except (UsageError, MachineError) as error:
            trouble = error  # not every machine has the disk for one
            continue
        say(
            f"volume {plain(made.name)} is made at {made.backend}, {plain(made.place)}:"
            f" {hourly(made.price_per_hour)}, {dollars(made.price_per_hour * _HOURS_A_MONTH)} a"
            f" month until `gdl-tui volumes delete {plain(made.name)}`"
        )
        return made
    raise trouble
