"""What can be done with offers: mark them, leave them out, bring them back, deploy on them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual import work

from gdl.domain.errors import GdlError, UsageError
from gdl.domain.offers import OfferQuery, RankedOffer
from gdl.domain.spec import DeploymentSpec
from gdl.orchestrator.api.views import SizedModel
from gdl.presentation.words import plural
from gdl.tui.filtering import Listing, key_of
from gdl.tui.screens.base import GdlScreen
from gdl.tui.widgets import offer_words as words
from gdl.tui.widgets.keyed_table import KeyedTable


class OfferActions(GdlScreen):
    """The half of the offers screen that changes something. The other half lists and draws."""

    SPENDS: ClassVar[frozenset[str]] = frozenset({"deploy"})

    def __init__(self) -> None:
        super().__init__()
        self._listing = Listing()
        self._wanted = OfferQuery()
        self._marked: list[str] = []
        """Keys of the listing, in the order in which they were marked."""
        self._excluded: list[str] = []

    @abstractmethod
    def action_refresh(self) -> None:
        """Ask for fresh offers."""

    @abstractmethod
    async def fresh(self) -> None:
        """Ask for fresh offers, and wait until they are listed."""

    @property
    def selected(self) -> RankedOffer | None:
        return self._listing.by_key.get(self.query_one(KeyedTable).selected_key or "")

    def _query(self, offer_ids: Sequence[str] = ()) -> OfferQuery:
        """What the offers are asked for with: the model and its load, and our limits."""
        return replace(
            self._wanted,
            max_price=self.context.settings.max_price,
            exclude_providers=tuple(self._excluded),
            offer_id=offer_ids[0] if len(offer_ids) == 1 else None,
            offer_ids=tuple(offer_ids) if len(offer_ids) > 1 else (),
        )

    def _sized(self) -> SizedModel | None:
        if self._wanted.model is None:
            return None
        try:
            return self.context.orchestrator.market.size(self._wanted)
        except UsageError:
            return None

    def _load_words(self) -> str:
        return words.needed(self._sized(), self._wanted)

    @property
    def marked(self) -> list[RankedOffer]:
        """Those that are still listed, cheapest first, as they would be tried."""
        known = self._listing.by_key
        found = [known[key] for key in self._marked if key in known]
        return sorted(found, key=lambda ranked: ranked.offer.price_per_hour)

    # Marks

    def action_mark(self) -> None:
        chosen = self.selected
        if chosen is None:
            return
        key = key_of(chosen)
        if key in self._marked:
            self._marked.remove(key)
        else:
            self._marked.append(key)
        self.query_one(KeyedTable).action_cursor_down()
        self.poke()
        self.refresh_bindings()

    def unmark(self) -> None:
        self._marked.clear()
        self.poke()
        self.refresh_bindings()

    # Leaving out

    def action_exclude(self) -> None:
        if self._marked:
            self._exclude_offers([ranked.offer.id for ranked in self.marked])
            return
        chosen = self.selected
        if chosen is None:
            return
        provider = chosen.offer.provider
        if provider not in self._excluded:
            self._excluded.append(provider)
            self.context.say(f"{provider} is left out · u brings it back")
            self.action_refresh()

    @work(exclusive=True, group="forget")
    async def _exclude_offers(self, ids: Sequence[str]) -> None:
        """By wish, until somebody brings them back."""
        try:
            for ident in ids:
                await self.context.orchestrator.market.exclude("offer", ident)
        except GdlError as error:
            self.context.report(error)
            return
        self.unmark()
        self.context.say(f"{plural(len(ids), 'offer')} left out · u on a row brings it back")
        self.action_refresh()

    def action_bring_back(self) -> None:
        chosen = self.selected
        here = chosen.offer.provider if chosen else ""
        if chosen is not None and here not in self._excluded and (key := remembered_key(chosen)):
            self._forget(key)
            return
        if not self._excluded:
            self.context.say("go to a row that is left out for a failure or a wish, then press u")
            return
        provider = here if here in self._excluded else self._excluded[-1]
        self._excluded.remove(provider)
        self.context.say(f"{provider} is back")
        self.action_refresh()

    @work(exclusive=True, group="forget")
    async def _forget(self, key: str) -> None:
        """Clear an exclusion that outlives deployments."""
        try:
            await self.context.orchestrator.market.clear_exclusions(key)
        except GdlError as error:
            self.context.report(error)
            return
        self.context.say(f"{key} may be taken again")
        self.action_refresh()

    # Deploying

    @work(exclusive=True, group="dialog")
    async def action_model(self) -> None:
        model = self._wanted.model
        if await self._ask_model():
            if self._wanted.model != model:
                self.query_one(KeyedTable).to_top()
            self.action_refresh()

    async def _ask_model(self) -> bool:
        """Whether something else is wanted now."""
        from gdl.tui.screens.picking import ModelDialog

        house = self.context.orchestrator
        dialog = ModelDialog(
            house.market.models(), self._wanted, self.context.settings.hours, house.market.size,
            blink=not self.context.reduced_motion,
        )  # fmt: skip
        chosen = await self.app.push_screen_wait(dialog)
        if chosen is None or chosen == self._wanted:
            return False
        self._wanted = chosen
        return True

    @work(exclusive=True, group="dialog")
    async def action_deploy(self) -> None:
        from gdl.tui.screens.planning import DeployDialog

        if self.context.read_only:
            self.context.say("this run is read-only: nothing is rented", severity="warning")
            return
        if self._wanted.model is None:
            if not await self._ask_model():
                return
            # Only now it is known what fits.
            await self.fresh()
        chosen = self.marked or ([self.selected] if self.selected is not None else [])
        if not chosen:
            return
        out = next((ranked for ranked in chosen if ranked.excluded is not None), None)
        if out is not None:
            name = f"offer {out.offer.id}" if len(chosen) > 1 else "this offer"
            self.context.say(f"{name} is left out: {out.excluded}", severity="warning")
            return
        settings = self.context.settings
        pinned = len(chosen) > 1 or chosen[0] != self._cheapest()
        attempts = len(chosen) if len(chosen) > 1 else settings.max_attempts
        hours = self._wanted.hours or settings.hours
        make = partial(DeployDialog, chosen, self._wanted.model or "", self._load_words(), hours)
        choice = await self.app.push_screen_wait(make(pinned=pinned, attempts=attempts))
        if choice is None:
            return
        ids = [ranked.offer.id for ranked in chosen] if pinned else []
        spec = DeploymentSpec(
            model=self._wanted.model or "",
            backend=self.context.orchestrator.backend_name,
            query=self._query(ids),
            hours=choice.hours,
            max_attempts=attempts,
            after="hold",
            auto_failover=choice.auto_failover,
            ask_on_failure=True,
        )
        self.unmark()
        self.context.start(spec)

    def _cheapest(self) -> RankedOffer | None:
        """What the orchestrator would take by itself: the first suitable one as listed."""
        listed = self._listing.by_key.values()
        return next((ranked for ranked in listed if ranked.excluded is None), None)


def remembered_key(ranked: RankedOffer) -> str | None:
    """The key under which the exclusion of an offer is remembered; None when it is no such one."""
    offer = ranked.offer
    keys = {"offer": offer.id, "machine": offer.machine_id, "provider": offer.provider}
    return keys.get(ranked.exclusion or "")
