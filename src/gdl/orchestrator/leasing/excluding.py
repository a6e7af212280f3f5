"""Whom a deployment excludes or sets aside after a failure, and who comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gdl.backends.base import Backend
from gdl.domain import events as ev
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.offers import Exclusion, Offer
from gdl.domain.phase import Phase
from gdl.journal import exclusions as remembered
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.deployment.engine_habits import rules_of
from gdl.orchestrator.leasing.blame import Blame, blame_for, ends_everything, exclusions_for
from gdl.orchestrator.leasing.requirements import needed_of
from gdl.presentation.words import plural
from gdl.settings import Settings

_BIG_DISK_GB = 100
"""Asked for after a disk was too small for a model of unknown size."""


class Excluding:
    """Excludes who is to blame for a failed attempt, here and across restarts.

    A host whose SSH fails says little of the other hosts of its provider: the provider is set
    aside, so that others are tried first, and excluded after several such hosts. A machine of the
    user's own is never excluded beyond its deployment, and neither is whom it comes from.
    """

    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._backend = backend
        self._journal = journal
        self._settings = settings
        self._clock = clock

    async def learn(self, deployment: Deployment, offer: Offer, error: GdlError) -> bool:
        """Exclude whom a failure speaks against, here and across restarts. True: no other offer can
        help."""
        blame = self._blame(deployment, error)
        if ends_everything(error, blame):
            return True
        if blame.id == "disk":
            # Where the disk is made to order, the next one is to be big enough.
            need = needed_of(
                deployment.engine, deployment.model, deployment.spec.query, self._settings
            )
            enough = 2 * need.disk_gb if need is not None else _BIG_DISK_GB
            deployment.disk_gb = max(enough, deployment.disk_gb or 0)
        now = self._clock()
        for exclusion in exclusions_for(blame, offer, error, now, self._backend.name):
            await self._exclude(deployment, exclusion)
        await self._judge_provider(deployment, blame, offer)
        return False

    @staticmethod
    def _blame(deployment: Deployment, error: GdlError) -> Blame:
        attempt = deployment.state.attempt
        diagnosis = attempt.diagnosis if attempt is not None else None
        return blame_for(
            error,
            rules_of(deployment.engine),
            diagnosis.rule if diagnosis is not None else "",
        )

    async def exclude_offer(self, deployment: Deployment, offer: Offer, error: GdlError) -> None:
        """An offer on which it failed, for this deployment, though it is not to blame."""
        reason = f"failed: {error.message}"[:160]
        name = self._backend.name
        out = Exclusion(
            "offer", offer.id, reason, self._clock(), cause="failed",
            scope="deployment", backend=name,
        )  # fmt: skip
        await self._exclude(deployment, out)

    async def exclude_provider(self, deployment: Deployment, provider: str) -> None:
        """Because its user said so, for this deployment."""
        await self._exclude(
            deployment,
            Exclusion(
                "provider",
                provider,
                f"provider {provider} excluded by you",
                self._clock(),
                cause=f"{provider} excluded by you",
                scope="deployment",
                backend=self._backend.name,
            ),
        )

    # -- providers -------------------------------------------------------------------------------

    async def _judge_provider(self, deployment: Deployment, blame: Blame, offer: Offer) -> None:
        """Count a host whose SSH failed against its provider; one that was entered ends the
        count."""
        if not self._backend.traits.bills:
            return
        exclusions, provider = deployment.exclusions, offer.provider
        if not blame.provider:
            attempt = deployment.state.attempt
            if attempt is not None and any(p is Phase.PREFLIGHT for p, _ in attempt.phases):
                exclusions.host_entered(provider)
            return
        host = _host(deployment, offer)
        failed, most = (
            exclusions.host_failed(provider, host),
            deployment.spec.exclude_provider_after,
        )
        now, name = self._clock(), self._backend.name
        if most and failed >= most:
            hosts = plural(failed, "host")
            cause = f"from {provider} after SSH errors on {hosts}"
            reason = f"SSH failed on {hosts} of {provider} in a row, the last {host}"
            out = Exclusion("provider", provider, reason, now, cause=cause, backend=name)
        else:
            cause = f"{provider} set aside after SSH errors"
            reason = f"{provider} is set aside: SSH failed on {host}"
            out = Exclusion(
                "provider", provider, reason, now, cause=cause, scope="aside", backend=name
            )
        await self._exclude(deployment, out)

    async def take_back(self, deployment: Deployment, provider: str) -> None:
        """One that was set aside, as nothing else suits."""
        deployment.exclusions.take_back(provider)
        failed = deployment.exclusions.failed_hosts(provider)
        reason = (
            f"nothing else suits: {provider} again, without the {plural(failed, 'host')}"
            " whose SSH failed"
        )
        await deployment.emit(ev.ExclusionLifted(deployment.attempt, "provider", provider, reason))
        await deployment.note(reason)

    async def include_wanted(self, deployment: Deployment) -> None:
        """The providers that the user includes as the deployment begins."""
        for provider in deployment.spec.include_providers:
            await self._include(deployment, provider)

    async def include_provider(self, deployment: Deployment, provider: str) -> None:
        """Include a provider in this deployment again, whatever excluded it, and in later ones if
        it was failures. Raises UsageError."""
        known = deployment.exclusions.excludes_provider(provider)
        found = await remembered.in_force(self._journal, self._backend.name, self._clock())
        across = any(x.kind == "provider" and x.key == provider for x in found)
        if not (known or across or provider in deployment.spec.query.exclude_providers):
            raise UsageError(f"provider {provider} is not excluded here", "nothing to include")
        await self._include(deployment, provider)
        await deployment.emit(ev.ExclusionLifted(deployment.attempt, "provider", provider))

    async def _include(self, deployment: Deployment, provider: str) -> None:
        deployment.exclusions.include_provider(provider)
        await remembered.forget_provider(self._journal, self._backend.name, provider)

    # -- the record ------------------------------------------------------------------------------

    async def _exclude(self, deployment: Deployment, exclusion: Exclusion) -> None:
        if not self._backend.traits.bills:
            exclusion = replace(exclusion, scope="deployment", until=None)
        deployment.exclusions.add(exclusion)
        lasting = exclusion.scope == "remembered"
        if lasting:
            try:
                await remembered.remember(self._journal, exclusion)
            except GdlError as error:
                await deployment.note(error.message, "warning")
        await deployment.emit(
            ev.ExclusionSet(
                deployment.attempt,
                exclusion.kind,
                exclusion.key,
                exclusion.reason,
                exclusion.until,
                lasting,
                exclusion.scope == "aside",
            )
        )


def _host(deployment: Deployment, offer: Offer) -> str:
    """What names the host of the latest attempt: its id, else its address, else the offer."""
    rental = deployment.rental
    address = rental.host if rental is not None else ""
    return offer.machine_id or address or offer.id
