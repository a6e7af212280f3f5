"""What a user asks of a fleet that runs, perhaps in another process."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.lazy_dataclass import dataclass

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scale:
    """So many replicas."""

    replicas: int


@dataclass(frozen=True, slots=True)
class Change:
    """Other flags, with which the replicas are replaced one after the other. None: as it is.
    engine_args: all of them, in place of those there are. max_price: dollars an hour, max_spend:
    dollars, both for all replicas together; these hold at once, and replace nobody."""

    engine_args: tuple[str, ...] | None = None
    context: int | None = None
    concurrency: int | None = None
    max_price: float | None = None
    max_spend: float | None = None

    @property
    def replaces(self) -> bool:
        """Whether replicas have to be started anew for it."""
        return any(each is not None for each in (self.engine_args, self.context, self.concurrency))

    def of(self, spec: FleetSpec) -> FleetSpec:
        """The fleet's wish with this change."""
        replica, query = spec.replica, spec.replica.query
        query = replace(
            query,
            context=_or(self.context, query.context),
            concurrency=_or(self.concurrency, query.concurrency),
            max_price=_or(self.max_price, query.max_price),
        )
        arguments = replica.engine_args if self.engine_args is None else self.engine_args
        replica = replace(
            replica,
            query=query,
            engine_args=arguments,
            max_spend=_or(self.max_spend, replica.max_spend),
        )
        return replace(spec, replica=replica)


@dataclass(frozen=True, slots=True)
class End:
    """The fleet ends. keep: its replicas go on serving, and billing, without the router."""

    keep: bool = False


FleetOrder = Scale | Change | End
ORDER_TYPES: dict[str, type[FleetOrder]] = {"scale": Scale, "change": Change, "end": End}


def name_of(order: FleetOrder) -> str:
    """As it is journaled."""
    return next(name for name, kind in ORDER_TYPES.items() if isinstance(order, kind))


def _or(given: T | None, otherwise: T | None) -> T | None:
    return otherwise if given is None else given


def releases(order: FleetOrder) -> bool:
    """Whether it ends the fleet, and its machines with it."""
    return isinstance(order, End) and not order.keep
