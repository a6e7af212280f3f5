"""Whom a deployment excludes or sets aside after a failure, and who comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from gdl.domain import events as ev
from gdl.domain.errors import BackendError, BackendRefused, GdlError, UsageError
from gdl.domain.offers import Exclusion, Offer
from gdl.domain.phase import Phase
from gdl.journal import exclusions as remembered
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.deployment.engine_habits import rules_of
from gdl.orchestrator.deployment.exclusions import Subject
from gdl.orchestrator.leasing.blame import Blame, blame_for, ends_everything, exclusions_for
from gdl.orchestrator.leasing.markets import Markets
from gdl.orchestrator.leasing.requirements import needed_of
from gdl.orchestrator.leasing.retry import overloaded
from gdl.presentation.words import plural
from gdl.settings import Settings

_BIG_DISK_GB = 100
"""Asked for after a disk was too small for a model of unknown size."""
_HOST_EXCLUDED = timedelta(days=7)
"""A host of a marketplace, after several of its machines could not be entered."""


class Excluding:
    """Excludes who is to blame for a failed attempt, here and across restarts.

    A machine whose SSH fails says little of the others of its host, or of its provider where hosts
    have no names: whoever runs it is set aside, so that others are tried first, and excluded after
    several such machines. A marketplace that is asked directly is thousands of hosts, and never
    excluded for one of them. A machine of the user's own is never excluded beyond its deployment,
    and neither is whom it comes from.

    A backend that is away, or refuses to rent, ends nothing while there are others.
    """

    def __init__(
        self,
        markets: Markets,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._markets = markets
        self._journal = journal
        self._settings = settings
        self._clock = clock

    async def learn(self, deployment: Deployment, offer: Offer, error: GdlError) -> bool:
        """Exclude whom a failure speaks against, here and across restarts. True: no other offer can
        help."""
        if isinstance(error, BackendError) and self._markets.several:
            await self._without_backend(deployment, offer, error)
            return False
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
        for exclusion in exclusions_for(blame, offer, error, now, offer.backend):
            await self._exclude(deployment, exclusion)
        await self._judge_host(deployment, blame, offer)
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
        out = Exclusion(
            "offer", offer.id, reason, self._clock(), cause="failed",
            scope="deployment", backend=offer.backend,
        )  # fmt: skip
        await self._exclude(deployment, out)

    async def exclude_provider(self, deployment: Deployment, provider: str, backend: str) -> None:
        """Because its user said so, for this deployment."""
        await self._exclude_by_user(deployment, backend, "provider", provider)

    async def exclude_source(self, deployment: Deployment, offer: Offer) -> None:
        """Who runs an offer's machine, because the user said so: its host where a marketplace tells
        it, as that has thousands; else its provider."""
        if offer.host_id is None:
            await self.exclude_provider(deployment, offer.provider, offer.backend)
        else:
            await self._exclude_by_user(deployment, offer.backend, "host", offer.host_id)

    async def _exclude_by_user(
        self, deployment: Deployment, backend: str, kind: str, key: str
    ) -> None:
        called = key if kind == "provider" else f"{kind} {key}"
        out = Exclusion(
            kind, key, f"{kind} {key} excluded by you", self._clock(),
            cause=f"{called} excluded by you", scope="deployment", backend=backend,
        )  # fmt: skip
        await self._exclude(deployment, out)

    # -- hosts, providers and backends -----------------------------------------------------------

    async def _without_backend(
        self, deployment: Deployment, offer: Offer, error: BackendError
    ) -> None:
        """One that cannot be asked now comes after the others; one that refuses what every request
        to it would ask for is done with."""
        name = offer.backend
        refuses = isinstance(error, BackendRefused) and not overloaded(error)
        out = Exclusion(
            "backend",
            name,
            f"{name}: {error.message}"[:160],
            self._clock(),
            cause=f"of {name}, which {'refuses' if refuses else 'does not answer'}",
            scope="deployment" if refuses else "aside",
            backend=name,
        )
        await deployment.note(f"{error.message}: continuing without {name}", "warning")
        await self._exclude(deployment, out)

    async def _judge_host(self, deployment: Deployment, blame: Blame, offer: Offer) -> None:
        """Count a machine whose SSH failed against its host or provider; one that was entered ends
        the count."""
        who = _answerable(offer)
        if not self._bills(offer.backend) or who is None:
            return
        exclusions = deployment.exclusions
        if not blame.provider:
            attempt = deployment.state.attempt
            if attempt is not None and attempt.entered(Phase.PREFLIGHT):
                exclusions.host_entered(who)
            return
        backend, kind, key = who
        called = key if kind == "provider" else f"{kind} {key} of {offer.provider}"
        host = _host(deployment, offer)
        failed, most = exclusions.host_failed(who, host), deployment.spec.exclude_provider_after
        now = self._clock()
        if most and failed >= most:
            hosts = plural(failed, "host" if kind == "provider" else "machine")
            cause = f"from {called} after SSH errors on {hosts}"
            reason = f"SSH failed on {hosts} of {called} in a row, the last {host}"
            until = None if kind == "provider" else now + _HOST_EXCLUDED
            out = Exclusion(kind, key, reason, now, until, cause, backend=backend)
        else:
            cause = f"{called} set aside after SSH errors"
            reason = f"{called} is set aside: SSH failed on {host}"
            out = Exclusion(kind, key, reason, now, cause=cause, scope="aside", backend=backend)
        await self._exclude(deployment, out)

    async def take_back(self, deployment: Deployment, aside: Exclusion) -> None:
        """One that was set aside, as nothing else suits."""
        deployment.exclusions.take_back(aside.subject)
        name = aside.key if aside.kind != "host" else f"host {aside.key}"
        reason = f"nothing else is suitable: using {name} again"
        if aside.kind != "backend":
            failed = deployment.exclusions.failed_hosts(aside.subject)
            hosts = plural(failed, "host" if aside.kind == "provider" else "machine")
            reason += f", without the {hosts} whose SSH failed"
        await deployment.emit(
            ev.ExclusionLifted(deployment.attempt, aside.kind, aside.key, reason, aside.backend)
        )
        await deployment.note(reason)

    async def include_wanted(self, deployment: Deployment) -> None:
        """The providers that the user includes as the deployment begins."""
        for provider in deployment.spec.include_providers:
            await self._include(deployment, provider)

    async def include_provider(self, deployment: Deployment, provider: str) -> None:
        """Include a provider in this deployment again, whatever excluded it, and in later ones if
        it was failures. Raises UsageError."""
        known = deployment.exclusions.excludes_provider(provider)
        now = self._clock()
        across = False
        for name in self._markets.names:
            found = await remembered.in_force(self._journal, name, now)
            across |= any(x.kind == "provider" and x.key == provider for x in found)
        if not (known or across or provider in deployment.spec.query.exclude_providers):
            raise UsageError(f"provider {provider} is not excluded here", "nothing to include")
        await self._include(deployment, provider)
        await deployment.emit(ev.ExclusionLifted(deployment.attempt, "provider", provider))

    async def _include(self, deployment: Deployment, provider: str) -> None:
        deployment.exclusions.include_provider(provider)
        for name in self._markets.names:
            await remembered.forget_provider(self._journal, name, provider)

    # -- the record ------------------------------------------------------------------------------

    async def _exclude(self, deployment: Deployment, exclusion: Exclusion) -> None:
        if not self._bills(exclusion.backend):
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
                exclusion.backend,
            )
        )

    def _bills(self, backend: str) -> bool:
        return self._markets.of(backend).bills


def _answerable(offer: Offer) -> Subject | None:
    """Who runs an offer's machine, as far as a failure speaks against them."""
    if offer.host_id is not None:
        return offer.backend, "host", offer.host_id
    if offer.asked_directly:
        return None
    return offer.backend, "provider", offer.provider


def _host(deployment: Deployment, offer: Offer) -> str:
    """What names the host of the latest attempt: its id, else its address, else the offer."""
    rental = deployment.rental
    address = rental.host if rental is not None else ""
    return offer.machine_id or address or offer.id
