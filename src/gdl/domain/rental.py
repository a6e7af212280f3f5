"""Our own record of what was rented."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime

from gdl.domain.default_engine import DEFAULT_ENGINE
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Billing


@dataclass(frozen=True, slots=True)
class Joined:
    """A machine beside the one of a rental, which serves one model together with it. The fields
    are a rental's."""

    host: str
    port: int
    user: str
    alias: str = ""
    agent_auth: bool = False
    key_file: str = ""
    host_key_file: str = ""
    work_dir: str = ""
    engine_log: str = ""
    has_gpu: bool = False


@dataclass(frozen=True, slots=True)
class Rental:
    """What we know of one rent request and the session it led to.

    billing is ours: it is `active` until the backend confirmed that the machine is gone.
    key_file, api_key_file, host_key_file: paths on this computer; "" while there is none.
    engine: the name of what serves on it.
    service_url: who was asked for it (Backend.service_url): only it can tell of the session.
    seen: there was a machine: the rent request was answered, or the backend told where it is.
    release_requested_at: when its end was first asked for. release_requests: how often, over all
    processes. release_took_s: how long the backend took over the longest of these requests.
    error_before: the session's error text when its end was first asked for.
    label: the rent request's, which the machine bears where the backend keeps labels.
    volume: id of the volume that it has mounted; "" for none.
    bid: dollars an hour that were bid for it; None: it is on demand.
    doubt: why it may still be billing though its end was asked for, or though nothing seemed to be
    rented; "" while there is none. ended_in_doubt: the session is over, and that proved nothing, so
    that to look at it again proves nothing either. joined: the machines that serve the model
    together with this one, from rank 1 on.
    """

    intent_id: str
    deployment_id: str
    attempt: int
    backend: str
    provider: str
    offer_id: str
    consumer_id: str
    price: float
    requested_at: datetime
    billing: Billing
    session_id: str | None = None
    model: str = ""
    served_name: str = ""
    host: str = ""
    port: int = 0
    user: str = ""
    alias: str = ""
    agent_auth: bool = False
    key_file: str = ""
    host_key_file: str = ""
    api_key_file: str = ""
    work_dir: str = ""
    engine_log: str = ""
    engine_port: int = 0
    has_gpu: bool = False
    released_at: datetime | None = None
    service_url: str = ""
    engine: str = DEFAULT_ENGINE
    seen: bool = False
    release_requested_at: datetime | None = None
    release_requests: int = 0
    release_took_s: float = 0.0
    error_before: str = ""
    doubt: str = ""
    ended_in_doubt: bool = False
    label: str = ""
    bid: float | None = None
    volume: str = ""
    joined: tuple[Joined, ...] = ()

    def rank(self, number: int) -> Rental:
        """The same for one of the machines that serve the model together; 0: this one."""
        if not number:
            return self
        other = self.joined[number - 1]
        return replace(
            self,
            **{name: getattr(other, name) for name in _OF_A_MACHINE},
            engine_port=0,
            api_key_file="",
            joined=(),
        )

    def with_rank(self, number: int, changed: Rental) -> Rental:
        """With what has changed of that machine."""
        other = Joined(**{name: getattr(changed, name) for name in _OF_A_MACHINE})
        joined = (*self.joined[: number - 1], other, *self.joined[number:])
        return replace(self, joined=joined)

    @property
    def subject(self) -> tuple[str, str | None]:
        """What it is about: (backend, session)."""
        return self.backend, self.session_id

    @property
    def may_bill(self) -> bool:
        """Whether it costs, or nobody knows."""
        return self.billing in (Billing.REQUESTED, Billing.ACTIVE, Billing.UNKNOWN)

    @property
    def open(self) -> bool:
        """Whether there may still be something of ours to release."""
        return self.may_bill or (self.session_id is not None and self.released_at is None)


_OF_A_MACHINE = tuple(field.name for field in fields(Joined))
