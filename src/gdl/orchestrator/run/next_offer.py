"""The offer of the next attempt: chosen by itself, or by the user when that cannot be."""

from __future__ import annotations

from gdl.domain.decisions import AfterFailure
from gdl.domain.errors import ConfirmedOfferGone, GdlError, NoSuitableOffer
from gdl.domain.offers import Offer
from gdl.domain.spec import ConfirmedOffer
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.selection import OfferSelection
from gdl.orchestrator.run.tries import Tries


class NextOffer:
    """For the attempts of one deployment. rents: whether its machines are rented."""

    def __init__(self, deployment: Deployment, selection: OfferSelection, *, rents: bool) -> None:
        self._deployment = deployment
        self._selection = selection
        self._rents = rents

    async def choose(self, last: GdlError | None, failed: Offer | None, tries: Tries) -> Offer:
        """The one to take. last, failed: why the latest attempt failed, and on which offer. Raises
        GdlError when there is none and nobody is asked."""
        while True:
            try:
                return await self._selection.choose(self._deployment)
            except NoSuitableOffer as error:
                offer = await self._none_left(error, last, failed)
                tries.begin_again()
                if offer is not None:
                    return offer

    async def _none_left(
        self, error: NoSuitableOffer, last: GdlError | None, failed: Offer | None
    ) -> Offer | None:
        """Nothing suits, or not what was confirmed: the user may choose otherwise, or it is the
        end."""
        dep = self._deployment
        if isinstance(error, ConfirmedOfferGone) and dep.spec.ask_on_failure:
            await self._ask_for_another(error)
            return None
        if last is None:
            raise error
        await dep.note(_told(error), "warning")
        if not dep.spec.ask_on_failure:
            if not self._rents and len(dep.state.attempts) == 1:
                raise last  # the user's one machine: what is wrong with it is all there is to say
            last.message = f"{last.message}; then {error.message}"
            last.hint = error.hint
            raise last
        return await self.ask(failed, error)

    async def _ask_for_another(self, error: ConfirmedOfferGone) -> None:
        """Whether to take the offer that `error` names in place of the one confirmed."""
        dep = self._deployment
        await dep.note(_told(error), "warning")
        choice = await dep.ask(
            "waiting for a choice: next offer, or the same again", reason=_told(error)
        )
        if choice is AfterFailure.EXCLUDE and error.provider:
            await self._selection.excluding.exclude_provider(dep, error.provider, error.backend)
        elif choice is AfterFailure.NEXT and error.alternative is not None:
            dep.confirmed = (ConfirmedOffer(error.alternative, error.price_per_hour),)

    async def ask(self, failed: Offer | None, why: GdlError | None = None) -> Offer | None:
        """Wait for a choice; the offer to take, or None for the next of a fresh list. why: why
        there is none, as far as is known."""
        dep, reason = self._deployment, _told(why)
        while True:
            choice = dep.decisions.take_early()
            if choice is None:
                choice = await dep.ask(
                    "waiting for a choice: retry, change its settings, next offer, or exclude the"
                    " provider",
                    reason=reason,
                )
            if choice is AfterFailure.EXCLUDE and failed is not None:
                await self._selection.excluding.exclude_source(dep, failed)
            if choice not in (AfterFailure.RETRY, AfterFailure.CHANGE) or failed is None:
                return None
            try:
                return await self._selection.again(dep, failed)
            except GdlError as error:
                reason = _told(error)
                await dep.note(reason, "warning")


def _told(error: GdlError | None) -> str:
    """What happened and what would help, in one line."""
    return "" if error is None else f"{error.message}; {error.hint}"
