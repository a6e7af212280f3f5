"""`gdl-tui prices`: what it costs to serve a model, machine by machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.amounts import check_bid
from gdl.cli.commands.offers import OfferOptions, offer_to_plain
from gdl.cli.completions import filter_fields, model_names
from gdl.cli.offer_words import filter_of
from gdl.cli.options import JsonOption, MarketTarget, engine_flags
from gdl.cli.output import say, say_away
from gdl.cli.runtime import Cli, Session, execute
from gdl.domain.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gdl.domain.offers import RankedOffer
    from gdl.domain.speed import Machine, Speed

_HEADINGS = (
    ">$/1M", ">TOKENS/S", ">MAY BE OFF", "MACHINE", ">PRICE", "PROVIDER", "LOCATION", "OFFER",
    "FROM",
)  # fmt: skip
_SPARE = ("LOCATION", "PROVIDER", "OFFER", "FROM")


@dataclass(frozen=True, slots=True)
class PriceOptions(OfferOptions):
    """Which machines are compared."""

    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Alias (see `gdl-tui models`) or hub id.",
            show_default=False,
            autocompletion=model_names,
        ),
    ] = None


class _Priced(NamedTuple):
    row: RankedOffer
    speed: Speed | None
    usd_per_million: float | None


def prices(
    cli: Cli,
    *,
    wanted: PriceOptions,
    narrowed: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="FILTER",
            help="Only machines that match, as in `offers`.",
            show_default=False,
            autocompletion=filter_fields,
        ),
    ] = None,
    by: Annotated[
        Literal["cost", "speed"],
        typer.Option("--by", help="What to sort by: cheapest tokens, or most tokens per second."),
    ] = "cost",
    every: Annotated[
        bool,
        typer.Option("--all", help="Every offer, not only the cheapest of each kind of machine."),
    ] = False,
    target: MarketTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Show what it costs to serve this model, by machine, cheapest tokens first.

    Prices are in dollars per 10^6 output tokens while the machine is always busy, with
    --concurrency requests at a time (default: 4). The speed was measured by you on such a machine,
    published for one, scaled from another, or derived from the GPU's memory bandwidth: FROM says
    which, and by how much it may be off. This is a prediction; `bench ID` measures.
    """
    check_bid(wanted.interruptible, wanted.bid)
    if wanted.model is None:
        raise typer.BadParameter("name a MODEL")

    async def body(session: Session) -> int:
        from gdl.cli.volume_for import mounting
        from gdl.domain.errors import NoSuitableOffer
        from gdl.domain.ranking import why_none
        from gdl.presentation.offer_filter import passing
        from gdl.presentation.words import plural

        orchestrator = session.orchestrator
        query = replace(wanted.query, max_price=session.settings.max_price)
        query = await mounting(session, query, wanted.volume)
        ranked = passing(filter_of(narrowed), await orchestrator.market.offers(query))
        say_away(orchestrator.market.away)
        suitable = [row for row in ranked if row.excluded is None]
        if not suitable:
            raise NoSuitableOffer(*why_none(ranked, query))
        speeds = await orchestrator.benchmarks.speeds(query, [_machine(r) for r in suitable])
        priced = _ordered([_price(row, speeds.get(_machine(row))) for row in suitable], by)
        shown = priced if every else _once(priced)
        if as_json:
            for one in shown:
                session.output.json(_plain(one))
            return exit_codes.OK
        session.output.table(_HEADINGS, [_cells(one) for one in shown], _SPARE)
        if any(one.speed is not None and one.speed.basis != "measured" for one in shown):
            say("predictions: `gdl-tui bench ID` measures the real speed of a machine")
        if others := len(priced) - len(shown):
            say(f"there are {plural(others, 'more offer')}: --all lists them")
        return exit_codes.OK

    flags = {"max_price": wanted.max_price, **engine_flags(wanted.engine)}
    execute(cli, body, target=target, as_json=as_json, flags=flags)


def _machine(row: RankedOffer) -> Machine:
    from gdl.domain.speed import Machine

    return Machine(row.offer.gpu_name, row.offer.gpu_count, row.offer.vram_gb)


def _price(row: RankedOffer, speed: Speed | None) -> _Priced:
    cost = None if speed is None else speed.usd_per_million(row.offer.price_per_hour)
    return _Priced(row, speed, cost)


def _ordered(priced: Sequence[_Priced], by: str) -> list[_Priced]:
    """Those of which not known come last, cheapest hour first."""

    def key(one: _Priced) -> tuple[bool, float, float]:
        fast = -one.speed.tokens_per_s if one.speed is not None else 0.0
        first = fast if by == "speed" else one.usd_per_million or 0.0
        return one.speed is None, first, one.row.offer.price_per_hour

    return sorted(priced, key=key)


def _once(priced: Sequence[_Priced]) -> list[_Priced]:
    """The first offer of each sort of machine."""
    seen: dict[object, _Priced] = {}
    for one in priced:
        seen.setdefault(_machine(one.row).sort, one)
    return list(seen.values())


def _off(speed: Speed) -> str:
    return "by 2 times" if speed.error >= 1 else f"{speed.error:.0%}"


def _cells(one: _Priced) -> tuple[str, ...]:
    from gdl.domain.money import dollars, hourly
    from gdl.presentation.hardware import machine

    offer, speed = one.row.offer, one.speed
    return (
        "" if one.usd_per_million is None else dollars(one.usd_per_million),
        "" if speed is None else f"{speed.tokens_per_s:.0f}",
        "" if speed is None else _off(speed),
        machine(offer, offer.vram_gb),
        hourly(offer.price_per_hour),
        offer.provider,
        offer.location,
        offer.id,
        _from(speed),
    )


def _from(speed: Speed | None) -> str:
    if speed is None:
        return "not known"
    return speed.source if speed.basis == "bandwidth" else f"{speed.basis}: {speed.source}"


def _plain(one: _Priced) -> dict[str, Any]:
    speed = one.speed
    return {
        "type": "price",
        "usd_per_million": one.usd_per_million,
        "tokens_per_s": None if speed is None else speed.tokens_per_s,
        "error": None if speed is None else speed.error,
        "basis": None if speed is None else str(speed.basis),
        "source": None if speed is None else speed.source,
        "offer": offer_to_plain(one.row),
    }
