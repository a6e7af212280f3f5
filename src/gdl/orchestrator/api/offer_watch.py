"""Looks at the markets again and again, until an offer that fits appears.

How often a market itself is asked is the backends' own business: they answer from what they keep
as long as that is fresh, and stay within what a marketplace allows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gdl.domain.errors import (
    BackendError,
    BackendRefused,
    HubAway,
    NoSuitableOffer,
    RemoteCodeNotAllowed,
    UsageError,
)
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Billing
from gdl.domain.ranking import counted
from gdl.presentation.durations import clock_time
from gdl.presentation.lines import plain
from gdl.presentation.offer_filter import passing
from gdl.presentation.words import plural

if TYPE_CHECKING:
    from gdl.domain.events import DeploymentFinished
    from gdl.domain.offers import OfferQuery, RankedOffer
    from gdl.domain.spec import DeploymentSpec
    from gdl.orchestrator.api.market import Market
    from gdl.presentation.offer_filter import OfferFilter

_TELL_S = 600.0
"""After so long without news it is said that watching goes on."""


class Lists(Protocol):
    """As much of the Market port as watching takes."""

    @property
    def away(self) -> Mapping[str, str]: ...

    async def offers(self, query: OfferQuery) -> Sequence[RankedOffer]: ...


class Times(NamedTuple):
    """now, pause: of this process. every_s: seconds between looks. limit_s: after which nothing is
    waited for any more; None: never."""

    now: Callable[[], datetime]
    pause: Callable[[float], Awaitable[object]]
    every_s: float
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """query: what the market is asked for; filter: what of it is wanted."""

    query: OfferQuery
    filter: OfferFilter


async def appearing(
    market: Lists, wanted: Wanted, times: Times, tell: Callable[[str], None]
) -> AsyncGenerator[list[RankedOffer]]:
    """The offers that fit, each time that there are new ones: those there are at first, then those
    that were not there, or did not fit, at the look before; cheapest first.

    tell: is given a sentence now and then. Ends at the limit. Raises what the first look raises,
    and at the limit what the last one did: trouble between is told and waited for.
    """
    began = times.now()
    there: frozenset[tuple[str, str]] = frozenset()
    trouble: BackendError | HubAway | None = None
    first, told_at, told_away = True, began, ""
    while True:
        wished_s = 0.0
        try:
            ranked = await market.offers(wanted.query)
        except (BackendError, HubAway) as error:
            if first:
                raise
            if trouble is None:
                tell(f"warning: {plain(error.message, 300)}; still watching")
            trouble = error
            wished_s = (isinstance(error, BackendRefused) and error.retry_after) or 0.0
        else:
            if trouble is not None:
                tell("it answers again")
            trouble = None
            told_away = _tell_away(market.away, told_away, tell)
            found = [row for row in passing(wanted.filter, ranked) if row.excluded is None]
            new = [row for row in found if _key(row) not in there]
            # What a market lists that does not answer just now is not new when it does again.
            kept = {key for key in there if key[0] in market.away}
            there = frozenset(map(_key, found)) | kept
            if new:
                told_at = times.now()
                yield new
            elif first or times.now() - told_at >= timedelta(seconds=_TELL_S):
                told_at = times.now()
                watched = clock_time((told_at - began).total_seconds())
                tell(_nothing(wanted, ranked) + ("" if first else f", {watched} now"))
            first = False
        left = None
        if times.limit_s is not None:
            left = times.limit_s - (times.now() - began).total_seconds()
        pause = max(times.every_s, wished_s)
        if left is not None and left <= 0:
            if trouble is not None:
                raise trouble
            return
        await times.pause(pause if left is None else min(pause, left))


def nothing_appeared(limit_s: float) -> NoSuitableOffer:
    """What is told when the time is over."""
    return NoSuitableOffer(
        f"no matching offer appeared within {clock_time(limit_s)}",
        "watch for longer with --for, or ask for less: `gdl-tui offers` with the same filter"
        " shows why each one is excluded",
    )


def _key(row: RankedOffer) -> tuple[str, str]:
    return row.offer.backend, row.offer.id


def _tell_away(away: Mapping[str, str], before: str, tell: Callable[[str], None]) -> str:
    """The names of those that are away, said when they change."""
    names = ", ".join(away)
    if names != before:
        tell(f"warning: {plain(names, 80)} is away" if names else "all backends answer again")
    return names


def _nothing(wanted: Wanted, ranked: Sequence[RankedOffer]) -> str:
    passed = passing(wanted.filter, ranked)
    if not ranked:
        return "nothing is listed"
    if not passed:
        return f"none of {plural(len(ranked), 'offer')} matches the filter"
    return (
        f"matching the filter: {len(passed)} of {plural(len(ranked), 'offer')}, {counted(passed)}"
    )


async def check_before(market: Market, spec: DeploymentSpec) -> None:
    """Raises now what the deployment would be refused for: nobody may be there when an offer
    appears, whose naming then is no user's choice."""
    query = spec.query
    await market.offers(query)  # what the model is, is looked up with it
    try:
        sized = market.size(query, check=True)
    except RemoteCodeNotAllowed:
        if not spec.trust_remote_code:
            raise
        sized = market.size(query)
    if sized.untold and not (query.min_vram_gb or query.offer_id or spec.model.startswith("/")):
        raise UsageError(
            f"the size of {plain(spec.model, 100)} is not known: {sized.untold}",
            "pass --min-vram GB or --offer ID",
        )


def on_these(spec: DeploymentSpec, rows: list[RankedOffer]) -> DeploymentSpec:
    """The deployment on these offers alone: others may not pass the filter."""
    ids = tuple(row.offer.id for row in rows)
    return replace(spec, query=replace(spec.query, offer_id=None, offer_ids=ids))


def others_were_quicker(finished: DeploymentFinished) -> bool:
    """Whether nothing was rented at any time, as no offer could be had any more; and nobody has
    ended it."""
    rented = any(each.session_id for each in finished.attempts)
    gone = finished.kind in ("no_suitable_offer", "offer_gone", "offer_taken")
    ended = finished.outcome == "cancelled"
    return gone and not rented and not ended and finished.billing is Billing.NONE
