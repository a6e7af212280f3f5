"""The simulated shopper, scripted: no machines of its own, nothing takes time, nothing is drawn.

async with FakeShopper() as shopper:
    shopper.inject("create", "stale")
    settings = Settings(shopper_url=shopper.url, ...)
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

import asyncssh

from gdl.simulator.fault_models import (
    Disk,
    Http,
    NeverReady,
    OfferFault,
    Operation,
    Refused,
    Stale,
)
from gdl.simulator.listings import Listing, gpus
from gdl.simulator.machines import HostElsewhere
from gdl.simulator.rented_session import Rented
from gdl.simulator.scenario import Scenario
from gdl.simulator.scripted_answers import Canned, Received
from gdl.simulator.service import Service
from gdl.simulator.timing import Timing
from gdl.simulator.wire_format import Query, rfc3339

_AT_ONCE = Timing(
    create=0,
    address=0,
    boot=0,
    verification=0,
    failed=60,
    destroy=0,
    destroy_tries=0,
    stuck=10_000,
    # As long as a list of offers is kept, what is rented stays in it.
    cache=10_000,
)
_SCENARIO = Scenario(
    name="scripted", title="Nothing goes wrong but what a test injects", timing=_AT_ONCE
)
_HTTP_FAULTS: dict[str, dict[str, Any]] = {
    "html": {"answer": "garbage"},
    "empty": {"answer": "empty"},
    "truncated": {"answer": "truncated"},
    "short": {"answer": "short"},
    "500": {"answer": "500"},
    "429": {"answer": "429", "retry_after": 1},
    "502": {"answer": "502"},
    "503": {"answer": "503"},
    "504": {"answer": "504"},
    "plain404": {"answer": "unrouted"},
    "hang": {"answer": "timeout"},
    "drop": {"answer": "cut"},
    # The session is made, and then:
    "cut": {"answer": "cut", "made": True},
    "made_502": {"answer": "502", "made": True},
    "made_truncated": {"answer": "truncated", "made": True},
    "no_key": {"answer": "incomplete", "without": "ssh_private_key"},
    "no_id": {"answer": "incomplete", "without": "session.id"},
    # The machine stays, and the answer is:
    "unverified": {"answer": "500", "error": "failed to verify destruction after 3 attempts"},
    "lies": {"answer": "lies"},
}
_OFFER_FAULTS: dict[str, OfferFault] = {
    "stale": Stale(),
    "gone500": Stale(form="500"),
    "no_nodes": Stale(form="nodes"),
    "insufficient_disk": Disk(recommended_gb=100),
    "provision_failed": Refused(),
    "ssh_timeout": Refused(error_type="ssh_timeout"),
}


@functools.cache
def default_key() -> str:
    """One throw-away private key for all sessions."""
    return asyncssh.generate_private_key("ssh-ed25519").export_private_key("pkcs8-pem").decode()


def listing(
    ident: str = "vastai-101",
    *,
    gpu: str = "RTX 3090",
    count: int = 1,
    price: float = 0.131,
    vram_gb: int = 24,
    reliability: float = 0.99,
    cuda: float = 12.8,
    machine: int | None = None,
) -> Listing:
    """machine: 0 for none; None: one of its own."""
    provider = ident.partition("-")[0]
    number = 5000 + int(ident[-3:].lstrip("-")) if machine is None else machine
    return Listing(
        ident,
        provider,
        gpus()[gpu],
        count,
        price,
        "Texas, US",
        reliability,
        cuda,
        number,
        vram_gb,
    )


def offer_row(ident: str, **changes: Any) -> dict[str, Any]:
    """An offer as the service sends it, but for the changes."""
    return {**listing("vastai-101").wire(0.994, rfc3339(datetime.now(UTC))), "id": ident, **changes}


def default_offers() -> list[Listing]:
    return [
        listing("vastai-201", gpu="RTX 3060", vram_gb=12, price=0.052),
        listing("vastai-202", price=0.101),
        listing("vastai-101"),
        listing("tensordock-301", price=0.2),
        listing("vastai-102", gpu="RTX 4090", price=0.302),
        listing("vastai-105", gpu="H100 SXM", count=2, vram_gb=79, price=4.5),
    ]


class FakeShopper(Service):
    """ssh: (host, port, user) of the machine that every session gets, private_key (PEM) its key."""

    def __init__(
        self,
        *,
        offers: list[Listing] | None = None,
        ssh: tuple[str, int, str] = ("127.0.0.1", 22, "root"),
        private_key: str = "",
    ) -> None:
        host = HostElsewhere(*ssh, private_key or default_key())
        super().__init__(_SCENARIO, host=host, listed=offers or default_offers())
        self.list_offers(*self.listed)

    def list_offers(self, *offers: Listing) -> None:
        """What is listed from now on, whether it is rented or not."""
        self.listed = offers
        self.market.inventory.list_offers(offers)
        self.market.inventory.show(Query({}))

    def inject(
        self, operation: Operation, fault: str | OfferFault | Http, times: int | None = 1
    ) -> None:
        """The next `times` requests of that kind go wrong; None: all of them. fault: one of the
        names above, or itself."""
        if isinstance(fault, str):
            answer = _HTTP_FAULTS.get(fault)
            if answer is None:
                assert operation == "create", operation
                fault = _OFFER_FAULTS[fault]
            else:
                fault = Http(on=operation, **answer)
        self.draws.inject(fault, times)

    def never_ready(self, offer_id: str, error: str) -> None:
        """Sessions of that offer fail with that error."""
        self.draws.inject(NeverReady(offers=(offer_id,), error=error), None)

    def heal(self) -> None:
        """Forget all faults that are still to come."""
        self.draws.heal()

    def answer_with(self, answer: Canned) -> None:
        """From now on, whatever is asked."""
        self.api.canned = answer

    @property
    def sessions(self) -> dict[str, Rented]:
        return self.market.sessions

    def session_of(self, offer_id: str) -> str:
        """The id of the first session of an offer."""
        return next(s.id for s in self.sessions.values() if s.offer.id == offer_id)

    def billing(self) -> list[str]:
        """Ids of the sessions whose machine exists."""
        return self.market.rented()

    @property
    def benchmarks(self) -> list[dict[str, Any]]:
        """Those that were published, oldest first."""
        return self.api.benchmarks.rows

    @property
    def requests(self) -> list[Received]:
        """All that came, oldest first."""
        return list(self.api.received)

    def seen(self, method: str, path: str) -> list[Received]:
        """The requests of that method whose path begins so."""
        return [r for r in self.requests if r.method == method and r.path.startswith(path)]

    async def rent_elsewhere(self, offer_id: str, consumer: str = "tester") -> str:
        """A session that somebody made who keeps no record of it; its id."""
        body = {"workload_type": "llm_vllm", "reservation_hours": 1}
        made = await self.market.create({"consumer_id": consumer, "offer_id": offer_id, **body})
        return str(made["session"]["id"])

    def end_by_itself(self, session_id: str, error: str) -> None:
        """The machine goes, and the service calls the session stopped."""
        session = self.sessions[session_id]
        if session.life is not None:
            session.life.cancel()
        session.status, session.error, session.rented = "stopped", error, False
