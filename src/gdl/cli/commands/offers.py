"""`gdl-tui offers`: what can be rented."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.amounts import check_bid, check_load
from gdl.cli.completions import model_names
from gdl.cli.offer_words import FilterArgument, filter_of
from gdl.cli.options import (
    BidOption,
    ConcurrencyOption,
    ContextOption,
    EngineOption,
    ExcludeProviderOption,
    InterruptibleOption,
    JsonOption,
    MarketTarget,
    MaxPriceOption,
    MinVramOption,
    ProviderOption,
    QuantizationOption,
    SortOption,
    TextOnlyOption,
    engine_flags,
)
from gdl.cli.output import say, say_away
from gdl.cli.runtime import Cli, Session, execute
from gdl.domain.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gdl.domain.offers import OfferQuery, RankedOffer


_SPARE = ("LOCATION", "RELIABLE", "PROVIDER", "SESSION", "SPARE")
_OTHERS = ("gpu", "count", "query")
"""Exclusions of what is not what was asked for."""


@dataclass(frozen=True, slots=True)
class OfferOptions:
    """Which offers are wanted."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="M",
            help="Only machines that can serve this model.",
            autocompletion=model_names,
        ),
    ] = None
    provider: ProviderOption = None
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", metavar="G", help="Part of the GPU's name."),
    ] = None
    min_vram: MinVramOption = None
    max_price: MaxPriceOption = None
    gpus: Annotated[
        int | None, typer.Option("--gpus", metavar="N", min=0, help="Minimum number of GPUs.")
    ] = None
    exclude_provider: ExcludeProviderOption = None
    context: ContextOption = None
    concurrency: ConcurrencyOption = None
    quantization: QuantizationOption = None
    text_only: TextOnlyOption = False
    engine: EngineOption = None
    sort: SortOption = None
    interruptible: InterruptibleOption = False
    bid: BidOption = None
    volume: Annotated[
        str | None,
        typer.Option(
            "--volume",
            metavar="NAME|ID",
            help="Only machines that can mount this volume.",
        ),
    ] = None

    @property
    def query(self) -> OfferQuery:
        """All but the price, which may be a setting, and the volume, which is looked up."""
        from gdl.domain.offers import OfferQuery

        return OfferQuery(
            provider=self.provider,
            gpu=self.gpu,
            min_vram_gb=self.min_vram,
            gpu_count=self.gpus,
            exclude_providers=tuple(self.exclude_provider or ()),
            model=self.model,
            context=self.context,
            concurrency=self.concurrency,
            quantization=self.quantization or "",
            text_only=self.text_only,
            order=self.sort or "",
            interruptible=self.interruptible,
            bid=self.bid,
        )


def offers(
    cli: Cli,
    words: FilterArgument = None,
    *,
    wanted: OfferOptions,
    target: MarketTarget,
    every: Annotated[
        bool, typer.Option("--all", help="Also list the offers that do not match.")
    ] = False,
    as_json: JsonOption = False,
) -> NoReturn:
    """List offers, cheapest first; excluded ones last, with the reason. With FILTER, only those
    that match.

    Offers with other GPUs or from other providers than requested are only counted.
    """
    check_bid(wanted.interruptible, wanted.bid)
    check_load(
        wanted.model,
        context=wanted.context,
        concurrency=wanted.concurrency,
        quantization=wanted.quantization,
        text_only=wanted.text_only,
    )

    async def body(session: Session) -> int:
        from gdl.cli.volume_for import mounting
        from gdl.domain.errors import NoSuitableOffer
        from gdl.domain.ranking import why_none
        from gdl.presentation.money import interruptible_words
        from gdl.presentation.offer_filter import passing
        from gdl.presentation.words import plural

        narrows = filter_of(words)
        query = replace(wanted.query, max_price=session.settings.max_price)
        query = await mounting(session, query, wanted.volume)
        listed = await session.orchestrator.market.offers(query)
        ranked = passing(narrows, listed)
        say_away(session.orchestrator.market.away)
        if as_json:
            for row in ranked:
                session.output.json(offer_to_plain(row))
        elif shown := [r for r in ranked if every or r.exclusion not in _OTHERS]:
            # Speeds are known for some GPUs at best: without any, there is no column for them.
            speeds = any(row.usd_per_million is not None for row in shown)
            cells = [_cells(row, speeds) for row in shown]
            headings = _headings(speeds)
            if all(row.excluded is None for row in shown):
                headings, cells = headings[:-1], [line[:-1] for line in cells]
            session.output.table(headings, cells, _SPARE)
            _say_others(len(ranked) - len(shown), ranked)
        if query.interruptible:
            say(interruptible_words(query.bid))
        size = session.orchestrator.market.size(query) if query.model else None
        if size is not None and size.guess:
            say(f"the size of {query.model} is guessed from {size.guess}")
        elif size is not None and size.untold:
            say(f"the size of {query.model} is not known: {size.untold}")
        if listed and not ranked:
            raise NoSuitableOffer(
                f"none of {plural(len(listed), 'offer')} matches the filter",
                "ask for less, or wait for one with `gdl-tui watch`",
            )
        if all(row.excluded is not None for row in ranked):
            raise NoSuitableOffer(*why_none(ranked, query))
        return exit_codes.OK

    flags = {"max_price": wanted.max_price, **engine_flags(wanted.engine)}
    execute(cli, body, target=target, as_json=as_json, flags=flags)


def _say_others(number: int, ranked: Sequence[RankedOffer]) -> None:
    """What is no machine of those that were asked for."""
    from gdl.domain.ranking import counted
    from gdl.presentation.words import plural

    if number:
        others = counted(row for row in ranked if row.exclusion in _OTHERS)
        say(f"not listed: {plural(number, 'offer')} ({others}); --all lists them")


def offer_to_plain(row: RankedOffer) -> dict[str, Any]:
    """The offer's own fields, then what ranking says of it; `excluded_until` in ISO 8601."""
    from gdl.domain.serialization import to_plain

    return {
        **to_plain(row.offer),
        "nominal_vram_gb": row.offer.nominal_vram_gb,
        "excluded": row.excluded,
        "exclusion": row.exclusion,
        "headroom_gb": row.headroom_gb,
        "excluded_until": to_plain(row.until),
        "session_cost": row.session_price,
        "session_price": _in_parts(row),
        "usd_per_million": row.usd_per_million,
    }


def _in_parts(row: RankedOffer) -> dict[str, Any] | None:
    """What `session_cost` is made of; None where the market tells neither disk nor traffic."""
    from gdl.domain.serialization import to_plain

    whole = row.session()
    if whole is None or not whole.itemized:
        return None
    return {**to_plain(whole), "total": whole.total}


def _headings(speeds: bool) -> tuple[str, ...]:
    return (
        ">PRICE",
        ">SESSION",
        *((">PER 1M",) if speeds else ()),
        "MACHINE",
        ">SPARE",
        "PROVIDER",
        "LOCATION",
        ">RELIABLE",
        "OFFER",
        "EXCLUDED",
    )


def _cells(row: RankedOffer, speeds: bool) -> tuple[str, ...]:
    from gdl.domain.money import dollars, hourly
    from gdl.presentation.hardware import machine

    offer = row.offer
    per_million = "" if row.usd_per_million is None else dollars(row.usd_per_million)
    return (
        hourly(offer.price_per_hour),
        "" if row.session_price is None else dollars(row.session_price),
        *((per_million,) if speeds else ()),
        machine(offer, offer.vram_gb),
        "" if row.headroom_gb is None else f"{row.headroom_gb:+.0f} GB",
        offer.provider,
        offer.location,
        "" if offer.reliability is None else f"{offer.reliability:.1%}",
        offer.id,
        "" if row.excluded is None else f"- {row.excluded}",
    )
