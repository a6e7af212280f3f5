"""The backends for marketplaces, on stand-ins for them: everything goes through the same code as
for the real ones, and what is shown is labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import SecretStr

from gdl.backends.runpod.backend import RunpodBackend
from gdl.backends.runpod.keys import FoundKey
from gdl.backends.sandbox.backend import LABEL, NAME
from gdl.backends.sandbox.stand_in import StandInTransport
from gdl.backends.vastai.backend import VastaiBackend
from gdl.domain.backend import BackendTraits
from gdl.domain.findings import Finding
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.secret import Secret
from gdl.domain.session import RentAnswer, RentRequest
from gdl.settings import Settings


def _simulated(traits: BackendTraits) -> BackendTraits:
    """The marketplace's, as far as its stand-in has them."""
    return replace(traits, simulated=True, outlives_program=False)


class SimulatedVastai(VastaiBackend):
    """The `sandbox-vastai` backend."""

    name = f"{NAME}-vastai"
    traits = _simulated(VastaiBackend.traits)

    def __init__(self, settings: Settings) -> None:
        self._stand_in = StandInTransport("vastai", settings)
        key = SecretStr(self._stand_in.key)
        own = settings.vastai.model_copy(update={"url": self._stand_in.url, "key": key})
        super().__init__(settings.model_copy(update={"vastai": own}), transport=self._stand_in)

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        return _labelled(self.name, self._stand_in, await super().offers(query))

    async def rent(self, request: RentRequest) -> RentAnswer:
        return _answer(request, await super().rent(request))

    async def check(self) -> Sequence[Finding]:
        return (_finding(self.name, self._stand_in), *await super().check())


class SimulatedRunpod(RunpodBackend):
    """The `sandbox-runpod` backend."""

    name = f"{NAME}-runpod"
    traits = _simulated(RunpodBackend.traits)

    def __init__(self, settings: Settings, consumer_id: str) -> None:
        self._stand_in = StandInTransport("runpod", settings)
        own = settings.runpod.model_copy(update={"url": self._stand_in.url})
        super().__init__(
            settings.model_copy(update={"runpod": own}),
            consumer_id,
            FoundKey(Secret(self._stand_in.key), "the sandbox"),
            transport=self._stand_in,
        )

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        return _labelled(self.name, self._stand_in, await super().offers(query))

    async def rent(self, request: RentRequest) -> RentAnswer:
        return _answer(request, await super().rent(request))

    async def check(self) -> Sequence[Finding]:
        return (_finding(self.name, self._stand_in), *await super().check())


def _labelled(name: str, stand_in: StandInTransport, offers: Sequence[Offer]) -> Sequence[Offer]:
    """A simulated machine is remembered as one of this market alone: never for a real one."""
    return tuple(
        replace(
            offer,
            backend=name,
            location=f"{offer.location} {LABEL}".strip(),
            machine_id=offer.machine_id and f"simulated-{stand_in.id}-{offer.machine_id}",
            host_id=offer.host_id and f"simulated-{stand_in.id}-{offer.host_id}",
        )
        for offer in offers
    )


def _answer(request: RentRequest, answer: RentAnswer) -> RentAnswer:
    # In the work folder: the usual place would be this computer's own /tmp.
    return replace(answer, engine_log=request.log_title)


def _finding(name: str, stand_in: StandInTransport) -> Finding:
    said = f"simulated hosts, scenario {stand_in.scenario.name}: nothing is rented"
    return Finding(name, "info", said)
