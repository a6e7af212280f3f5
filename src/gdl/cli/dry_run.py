"""`deploy --dry-run`: what would be deployed, what it would cost, and where; nothing is rented."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdl.cli import exit_codes
from gdl.cli.consent import costs, price_lines, suitable_offers
from gdl.cli.fleet_consent import of_several
from gdl.cli.output import say
from gdl.domain.fleet_spec import check_replicas
from gdl.domain.money import dollars, hourly
from gdl.presentation.lines import plain
from gdl.presentation.words import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gdl.cli.runtime import Session
    from gdl.domain.offers import RankedOffer
    from gdl.domain.spec import DeploymentSpec

_THEN = {
    "destroy": "verify it, release the machine",
    "keep": "verify it, leave it serving, exit",
    "hold": "verify it, keep it serving until Ctrl-C",
}


async def show(session: Session, spec: DeploymentSpec, replicas: int | None = None) -> int:
    """Print the plan, the price and the offers in the order in which they would be tried. replicas:
    of a fleet, each of which is deployed so. Raises what asking for offers raises, NoSuitableOffer,
    and UsageError for what would be refused."""
    if replicas is not None:
        check_replicas(replicas)
    suitable = await suitable_offers(session.orchestrator, spec)
    session.orchestrator.market.size(spec.query, check=spec)
    tried = suitable[: spec.max_attempts]
    output = session.output
    if output.as_json:
        from gdl.cli.commands.offers import offer_to_plain

        output.json(
            {
                "type": "plan",
                "model": spec.model,
                "backend": spec.backend,
                "engine": spec.engine,
                "hours": spec.hours,
                "max_attempts": spec.max_attempts,
                "max_price": spec.query.max_price,
                "max_spend": spec.max_spend,
                "idle_minutes": spec.idle_minutes,
                "unseen_hours": spec.unseen_hours,
                "after": spec.after,
                "suitable": len(suitable),
                "replicas": replicas,
                "offers": [offer_to_plain(each) for each in tried],
            }
        )
        return exit_codes.OK
    for name, text in _plan(session, spec, tried):
        say(f"{name:<8} {text}")
    if replicas is not None:
        prices = [each.offer.price_per_hour for each in suitable]
        say(f"fleet    {plural(replicas, 'replica')}, each on a machine of its own, as follows")
        say(f"{'':<8} about {hourly(of_several(prices, replicas))} together; limits are for all")
    for head, line in zip(("ranks", *[""] * spec.query.nodes), _ranks(tried, spec), strict=False):
        say(f"{head:<8} {line}")
    price = (
        price_lines(suitable, spec, session.orchestrator)
        if costs(session.orchestrator)
        else ["nothing"]
    )
    for head, line in zip(("price", *[""] * len(price)), price, strict=False):
        say(f"{head:<8} {line}")
    others = len(suitable) - len(tried)
    say(
        f"offers   {plural(len(tried), 'offer')} in this order, each if the previous one failed"
        + (f"; {others} more suitable" if others else "")
    )
    headings = (">PRICE", ">SESSION", "MACHINE", "PROVIDER", "LOCATION", "OFFER")
    output.table(headings, _rows(tried), ("LOCATION", "PROVIDER"))
    say("nothing was rented: omit --dry-run to deploy")
    return exit_codes.OK


def _plan(
    session: Session, spec: DeploymentSpec, tried: Sequence[RankedOffer]
) -> list[tuple[str, str]]:
    from gdl.domain.guard import limits as limits_in_words
    from gdl.engines import registry
    from gdl.presentation.hardware import gigabytes
    from gdl.presentation.session_end import guard_limits

    sized = session.orchestrator.market.size(spec.query)
    need = "its size is not known"
    if sized.need is not None:
        need = f"needs {gigabytes(sized.need.vram_gb)} VRAM, {sized.need.disk_gb} GB disk"
    engine = registry.info(spec.engine).display_name
    bench = ", measure it" if spec.bench else ""
    limits = [f"{plural(spec.max_attempts, 'machine')} at most"]
    if spec.query.max_price is not None:
        limits.append(f"none above {hourly(spec.query.max_price)}")
    if spec.max_spend is not None:
        limits.append(f"{dollars(spec.max_spend)} in all")
    wanted, backends = (spec.idle_minutes, spec.unseen_hours), {r.offer.backend for r in tried}
    if ends_after := guard_limits(*wanted, session.orchestrator, backends):
        limits.append(f"ends after {ends_after}")
    elif asked := limits_in_words(*wanted):
        limits.append(f"no guard on all of these machines: nothing ends after {asked}")
    return [
        ("model", f"{plain(spec.model, 120)}: {need}"),
        ("plan", f"rent, install {engine}, load the model{bench}, {_THEN[spec.after]}"),
        ("limits", ", ".join(limits)),
    ]


def _ranks(offers: Sequence[RankedOffer], spec: DeploymentSpec) -> list[str]:
    """The machines that serve the model together; none where one does."""
    if spec.query.nodes <= 1 or not offers:
        return []
    head = offers[0].offer
    others = [f"rank {n}  {plain(each, 80)}" for n, each in enumerate(head.joined, 1)]
    return [f"rank 0  {plain(head.machine_id or head.id, 80)}: has the endpoint", *others]


def _rows(offers: Sequence[RankedOffer]) -> list[tuple[str, ...]]:
    from gdl.presentation.hardware import machine

    return [
        (
            hourly(each.offer.price_per_hour),
            "" if each.session_price is None else dollars(each.session_price),
            machine(each.offer, each.offer.vram_gb),
            each.offer.provider,
            each.offer.location,
            each.offer.id,
        )
        for each in offers
    ]
