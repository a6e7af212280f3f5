"""The volume of a deployment: one there is, or one that is made for it."""

from __future__ import annotations

from dataclasses import replace

from gdl.cli.consent import Consent, to_rent
from gdl.cli.output import say
from gdl.cli.runtime import Session
from gdl.domain.errors import GdlError, MachineError, NoSuitableOffer, UsageError
from gdl.domain.money import dollars, hourly
from gdl.domain.offers import OfferQuery
from gdl.domain.ranking import why_none
from gdl.domain.spec import DeploymentSpec
from gdl.domain.volumes import Volume
from gdl.presentation.lines import plain

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
    if size_gb is None or not await _is_to_be_made(session, ident):
        spec = replace(spec, query=await mounting(session, spec.query, ident))
        return await to_rent(session.orchestrator, spec, said)
    beside = (
        f"a volume of {size_gb} GB is created, which costs money until `gdl-tui volumes delete` "
        "deletes it"
    )
    spec = await to_rent(session.orchestrator, spec, said, beside)
    volume = await _made(session, ident, size_gb, spec.query)
    return replace(spec, query=replace(spec.query, volume=volume))


async def planned(
    session: Session, spec: DeploymentSpec, ident: str | None, size_gb: int | None
) -> DeploymentSpec:
    """The same where nothing is rented or made: a volume that would be made narrows nothing."""
    if ident is not None and size_gb is not None and await _is_to_be_made(session, ident):
        return spec
    return replace(spec, query=await mounting(session, spec.query, ident))


async def _is_to_be_made(session: Session, ident: str) -> bool:
    volumes = session.orchestrator.volumes
    rows = (await volumes.list()).rows
    there = any(ident in (row.volume.id, row.volume.name) for row in rows)
    return volumes.keeps and not there


async def mounting(session: Session, query: OfferQuery, ident: str | None) -> OfferQuery:
    """With the volume of that name or id, where one is named. Raises UsageError, BackendError."""
    if ident is None:
        return query
    return replace(query, volume=await session.orchestrator.volumes.find(ident))


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
