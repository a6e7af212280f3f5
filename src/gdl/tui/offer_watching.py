"""A watch for an offer, which goes on while other screens are shown."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import NamedTuple

from rich.text import Text

from gdl.domain.errors import GdlError
from gdl.domain.money import hourly
from gdl.domain.offers import OfferQuery, RankedOffer
from gdl.domain.spec import DeploymentSpec
from gdl.orchestrator.api.offer_watch import (
    Times,
    Wanted,
    appearing,
    check_before,
    on_these,
    others_were_quicker,
)
from gdl.presentation.durations import clock_time
from gdl.presentation.lines import plain
from gdl.presentation.offer_filter import OfferFilter
from gdl.presentation.offer_line import offer_line
from gdl.presentation.words import plural
from gdl.tui.context import AppContext

EVERY_S = 30.0
"""Between two looks, as on the command line."""


class Watch(NamedTuple):
    """line: the filter as it was typed, "" for none; filter: that, understood. query: what the
    market is asked for, with the most that it may cost. spec: what is deployed on what appears, as
    was agreed to; None: it is only told."""

    line: str
    filter: OfferFilter
    query: OfferQuery
    spec: DeploymentSpec | None = None


class OfferWatching:
    """One watch at a time. `watch` is the one that runs; `found` what the last one was ended by."""

    def __init__(self, pause: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self.watch: Watch | None = None
        self.found: Sequence[RankedOffer] = ()
        self.pause = pause
        """Between two looks, for so many seconds."""
        self._began: datetime | None = None
        self._found_at: datetime | None = None
        self._said = ""

    async def run(
        self, context: AppContext, watch: Watch, ring: Callable[[], object] = lambda: None
    ) -> None:
        """Until something that fits has appeared, and was rented where that is wanted, or until it
        is cancelled. What cannot go on is reported. ring: called when something appears."""
        self.watch, self.found, self._said = watch, (), ""
        self._began = context.now
        try:
            await self._run(context, watch, ring)
        except GdlError as error:
            context.report(error)
        finally:
            self._over(context, watch)

    def _over(self, context: AppContext, watch: Watch) -> None:
        if self.watch is watch:
            self.watch = None
            context.touch()

    async def _run(self, context: AppContext, watch: Watch, ring: Callable[[], object]) -> None:
        def tell(words: str) -> None:
            self._said = words
            context.touch()

        market = context.orchestrator.market
        if watch.spec is not None:
            await check_before(market, watch.spec)
        times = Times(lambda: context.now, self.pause, EVERY_S)
        looks = appearing(market, Wanted(watch.query, watch.filter), times, tell)
        async with aclosing(looks) as rounds:
            async for rows in rounds:
                self.found, self._found_at = rows, context.now
                ring()
                context.say(f"{plural(len(rows), 'offer')} now: {offer_line(rows[0])}")
                if watch.spec is None or await self._rented(
                    context, watch, on_these(watch.spec, rows)
                ):
                    return
                self.found = ()
                context.say("others were quicker; still watching", severity="warning")

    async def _rented(self, context: AppContext, watch: Watch, spec: DeploymentSpec) -> bool:
        """Deploy, and show it. Returns when that has ended: False where none of the offers was
        there any more. The watch is over as soon as something is rented."""
        deployments = context.orchestrator.deployments
        beginning = asyncio.ensure_future(deployments.deploy(spec))
        try:
            ident = await asyncio.shield(beginning)
            context.open_deployment(ident)
            async for _recorded in deployments.events(ident):
                attempt = deployments.state(ident).attempt
                if attempt is not None and attempt.session_id is not None:
                    self._over(context, watch)
        except asyncio.CancelledError:
            if self.watch is watch:
                # Who ends the watch before anything is rented wants nothing of it.
                with contextlib.suppress(GdlError):
                    await deployments.cancel(await beginning)
            raise
        finished = deployments.state(ident).finished
        return finished is None or not others_were_quicker(finished)

    def line(self, now: datetime) -> Text:
        """What it waits for and how that goes, or what it found; empty without one."""
        text = Text(no_wrap=True, overflow="ellipsis")
        if (watch := self.watch) is not None and self._began is not None:
            text.append("▶ Watching ", "bold")
            text.append(clock_time((now - self._began).total_seconds()))
            told = [watch.line or "any offer", _rents(watch) or "only tells", self._said]
            text.append(" (w ends it) · ")
            text.append(plain(" · ".join(each for each in told if each), 300))
        elif self.found and self._found_at is not None:
            at = f"{self._found_at.astimezone():%H:%M}"
            more = f" and {len(self.found) - 1} more" if len(self.found) > 1 else ""
            text.append(f"✓ Appeared at {at}{more}: ", "bold")
            text.append(offer_line(self.found[0]))
        return text


def _rents(watch: Watch) -> str:
    if watch.spec is None:
        return ""
    most = watch.query.max_price
    return "rents it" if most is None else f"rents it for {hourly(most)} at most"
