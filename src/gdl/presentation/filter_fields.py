"""What a filter line over offers can ask for: its fields, and what each of them reads."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from gdl.domain.offers import RankedOffer


class Kind(Enum):
    """Of a field's values."""

    NUMBER = "number"
    NAME = "name"
    YES = "yes or no"


class Field(NamedTuple):
    """help: what it is, in a few words; example: a term that asks for it. read: its value, None
    where it is not told: such an offer passes no test of it. most: the greatest value that there
    can be. aliases: other names for it."""

    name: str
    kind: Kind
    help: str
    example: str
    read: Callable[[RankedOffer], float | str | bool | None]
    aliases: tuple[str, ...] = ()
    most: float | None = None

    @property
    def operators(self) -> tuple[str, ...]:
        if self.kind is Kind.NUMBER:
            return ("<", "<=", ">", ">=", "=", "!=")
        return (":", "!=") if self.kind is Kind.NAME else (":",)


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def _line(ranked: RankedOffer, way: str) -> float | None:
    terms = ranked.offer.terms
    return None if terms is None else getattr(terms, way)


def _fits(ranked: RankedOffer) -> bool:
    return ranked.excluded is None and (ranked.headroom_gb is None or ranked.headroom_gb >= 0)


FIELDS: tuple[Field, ...] = (
    Field("gpu", Kind.NAME, "part of the GPU's name; separate several with commas", "gpu:4090,3090",
          lambda r: r.offer.gpu_name),
    Field("price", Kind.NUMBER, "dollars per hour", "price<0.5",
          lambda r: r.offer.price_per_hour),
    Field("vram", Kind.NUMBER, "nominal memory of each GPU, in GB", "vram>=24",
          lambda r: float(r.offer.nominal_vram_gb)),
    Field("gpus", Kind.NUMBER, "number of GPUs", "gpus=2",
          lambda r: float(r.offer.gpu_count), aliases=("count",)),
    Field("total", Kind.NUMBER, "memory of all its GPUs together, in GB", "total>=48",
          lambda r: float(r.offer.nominal_vram_gb * max(r.offer.gpu_count, 0))),
    Field("fit", Kind.YES, "whether the model fits and the offer is not excluded", "fit:yes",
          _fits, aliases=("fits",)),
    Field("spare", Kind.NUMBER, "memory that the model leaves free, in GB", "spare>=4",
          lambda r: r.headroom_gb, aliases=("headroom",)),
    Field("session", Kind.NUMBER, "dollars for the whole session", "session<1",
          lambda r: r.session_price),
    Field("million", Kind.NUMBER, "dollars for 10^6 output tokens, where measured", "million<0.2",
          lambda r: r.usd_per_million),
    Field("place", Kind.NAME, "where it is", "place:norway",
          lambda r: r.offer.location, aliases=("location", "country", "region")),
    Field("provider", Kind.NAME, "marketplace or company", "provider:vastai",
          lambda r: r.offer.provider, aliases=("market",)),
    Field("rel", Kind.NUMBER, "reliability in percent", "rel>=99",
          lambda r: _percent(r.offer.reliability), aliases=("reliability", "reliable"), most=100),
    Field("conf", Kind.NUMBER, "confidence in the listing, in percent", "conf>=80",
          lambda r: _percent(r.offer.confidence), aliases=("confidence",), most=100),
    Field("cuda", Kind.NUMBER, "newest CUDA that its driver supports", "cuda>=12.8",
          lambda r: r.offer.cuda_version),
    Field("down", Kind.NUMBER, "download speed in Mbit/s", "down>=500",
          lambda r: _line(r, "down_mbps"), aliases=("inet", "download")),
    Field("up", Kind.NUMBER, "upload speed in Mbit/s", "up>=100",
          lambda r: _line(r, "up_mbps"), aliases=("upload",)),
    Field("hours", Kind.NUMBER, "hours that it can be rented for", "hours>=24",
          lambda r: r.offer.max_duration_hours, aliases=("duration",)),
    Field("interruptible", Kind.YES, "whether it can be lost to a higher bid", "interruptible:no",
          lambda r: r.offer.interruptible),
    Field("id", Kind.NAME, "the offer's id", "id:9504830",
          lambda r: r.offer.id, aliases=("offer",)),
    Field("machine", Kind.NAME, "the machine's id", "machine:5944",
          lambda r: r.offer.machine_id or ""),
    Field("host", Kind.NAME, "who runs the machine", "host:1203",
          lambda r: r.offer.host_id or ""),
    Field("reason", Kind.NAME, "why it is excluded", "reason:dear",
          lambda r: r.excluded or "", aliases=("excluded", "why")),
)  # fmt: skip
"""Those that are asked for most come first."""
BY_NAME = {name: field for field in FIELDS for name in (field.name, *field.aliases)}
