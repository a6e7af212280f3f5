"""RunPod's catalogue as offers: kinds of machines that can be had, not machines.

An offer is a kind of GPU, how many of them, and whose machines: RunPod's own (secure) or those of
its partners (community). Its id says all of that, so that it can be asked for again at any time:

    runpod-secure-2x-NVIDIA_GeForce_RTX_4090
    runpod-secure-2x-NVIDIA_GeForce_RTX_4090@EU-RO-1

The second form is tied to a data centre. It is listed where the account has a volume there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Annotated
from urllib.parse import quote, unquote

from pydantic import Field, ValidationError

from gdl.backends.runpod.wire import BACKEND, DISK_GB_HOUR, Object, Objects, Wire, short_name
from gdl.backends.scalars import Flag, Number, OfferId, SoftCount, Text
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.offers import Offer, OfferTerms

SECURE, COMMUNITY = "SECURE", "COMMUNITY"
CLOUDS = (SECURE, COMMUNITY)
COUNTS = (1, 2, 4, 8)
"""How many GPUs a machine is listed with, where nobody asked for a number."""
LISTED_DISK_GB = 50
"""GB of disk in a listed price, and on a machine where nobody asked for a number."""
_MAKER = "NVIDIA"
"""Kinds of other makers are no use to what is installed on the machines."""
_LEVELS = ("NONE", "LOW", "MEDIUM", "HIGH")
_MAX_PRICE = 100.0
"""Dollars an hour for one GPU; a higher one is no price."""
_PLACE = re.compile(r"[A-Za-z0-9-]{1,32}")
_ID = re.compile(
    r"runpod-(secure|community)-([1-9]\d{0,2})x-([A-Za-z0-9._%~-]{1,120})"
    r"(?:@([A-Za-z0-9-]{1,32}))?"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be asked for. gpu_id: RunPod's own. place: the id of a data centre, "" for any."""

    cloud: str
    count: int
    gpu_id: str
    place: str = ""

    @property
    def offer_id(self) -> str:
        name = quote(self.gpu_id, safe=" ").replace("_", "%5F").replace(" ", "_")
        place = f"@{self.place}" if self.place else ""
        return f"runpod-{self.cloud.lower()}-{self.count}x-{name}{place}"

    @classmethod
    def of(cls, offer_id: str) -> Kind | None:
        """The kind that an offer's id names; None when it is none of ours."""
        found = _ID.fullmatch(offer_id)
        if found is None:
            return None
        gpu_id = unquote(found[3].replace("_", " "))
        kind = cls(found[1].upper(), int(found[2]), gpu_id, found[4] or "")
        return kind if kind.offer_id == offer_id else None


class GpuWire(Wire):
    """A kind of GPU. memory: GB each. price: dollars an hour for one, by cloud in lower case; it is
    there for clouds that do not have the kind, too."""

    id: OfferId
    name: Text = ""
    manufacturer: Text = _MAKER
    memory: Annotated[Number, Field(gt=0, le=10_000)]
    secure: Flag = False
    community: Flag = False
    price: Object
    maxCount: Object = Field(default_factory=dict)  # noqa: N815 - RunPod's own name
    availability: Text = ""
    dataCenters: Objects = Field(default_factory=list)  # noqa: N815
    cudaVersions: Objects = Field(default_factory=list)  # noqa: N815

    def places(self) -> dict[str, int]:
        """Data centres that have it now, by id: how well, 1 to 3."""
        found = {str(row.get("id")): level(row.get("availability")) for row in self.dataCenters}
        return {place: much for place, much in found.items() if much and _PLACE.fullmatch(place)}

    def knows_cuda(self, least: float | None) -> bool:
        """Whether machines with such a driver can be had, or that is not told."""
        if least is None or not self.cudaVersions:
            return True
        told = [
            row.get("version") for row in self.cudaVersions if row.get("available") is not False
        ]
        return any(cuda_of(each) >= cuda_of(f"{least:.1f}") for each in told)


class _Priced(Wire):
    """A price that a machine can have. It never costs nothing: a zero is one that is not known."""

    price: Annotated[Number, Field(gt=0, le=_MAX_PRICE)]
    most: SoftCount = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """What the catalogue said of a cloud and a number of GPUs. dropped: rows that could not be
    trusted."""

    offers: tuple[Offer, ...]
    dropped: int
    names: Mapping[str, str]


def level(availability: object) -> int:
    """0 (none) to 3; what is not told counts as little: renting tells."""
    told = str(availability).upper()
    return _LEVELS.index(told) if told in _LEVELS else 1


def cuda_of(version: object) -> tuple[int, int]:
    """ "12.8" -> (12, 8): versions are compared by their parts, 12.11 is above 12.2."""
    found = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", version) if isinstance(version, str) else None
    return (int(found[1]), int(found[2])) if found else (0, 0)


def read(
    rows: Iterable[object],
    cloud: str,
    count: int,
    places: Collection[str],
    min_cuda: float | None = None,
) -> Listing:
    """The offers of `count` GPUs on this cloud; those in `places` once more by themselves."""
    offers: dict[str, Offer] = {}
    names: dict[str, str] = {}
    dropped = 0
    for row in rows:
        try:
            gpu = GpuWire.model_validate(row)
            names[gpu.id] = gpu.name or short_name(gpu.id)
            told = _of_cloud(gpu, cloud, count)
        except ValidationError:
            dropped += 1
            continue
        if told is None:
            continue
        kind = Kind(cloud, count, gpu.id)
        available = level(gpu.availability) > 0 and gpu.knows_cuda(min_cuda)
        offer = _offer(kind, gpu, told.price, available)
        offers.setdefault(offer.id, offer)
        if cloud == SECURE and available:
            for place in sorted(gpu.places().keys() & set(places)):
                tied = _offer(replace(kind, place=place), gpu, told.price, True)
                offers.setdefault(tied.id, tied)
    return Listing(tuple(offers.values()), dropped, names)


def _of_cloud(gpu: GpuWire, cloud: str, count: int) -> _Priced | None:
    """The price there; None where the cloud does not have so many of the kind. Raises
    ValidationError when the price cannot be trusted."""
    there = cloud.lower()
    if not getattr(gpu, there) or gpu.manufacturer.upper() != _MAKER:
        return None
    told = _Priced.model_validate({"price": gpu.price.get(there), "most": gpu.maxCount.get(there)})
    most = told.most if there in gpu.maxCount else 1
    return told if count <= most else None


def _offer(kind: Kind, gpu: GpuWire, price: float, available: bool) -> Offer:
    by_gpus = price * kind.count
    return Offer(
        id=kind.offer_id,
        backend=BACKEND,
        provider=BACKEND,
        gpu_name=gpu.name or short_name(gpu.id),
        gpu_count=kind.count,
        vram_gb=gpu.memory,
        price_per_hour=by_gpus + LISTED_DISK_GB * DISK_GB_HOUR,
        location=kind.place or f"{kind.cloud.lower()} cloud",
        available=available,
        terms=OfferTerms(by_gpus, DISK_GB_HOUR, LISTED_DISK_GB),
    )
