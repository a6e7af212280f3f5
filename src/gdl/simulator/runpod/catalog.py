"""What the stand-in for RunPod lists: kinds of machines, by GPU, number and cloud, not machines.
Behind each kind are hundreds of hosts. Prices are made up, within what is usual there."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gdl.domain.lazy_dataclass import dataclass
from gdl.simulator.listings import Listing, gpus
from gdl.simulator.runpod.errors import Problem
from gdl.simulator.wire_format import Json

CLOUDS = ("SECURE", "COMMUNITY")
DATA_CENTERS = ("US-KS-2", "US-TX-3", "CA-MTL-1", "EU-RO-1", "EU-SE-1", "EUR-IS-1", "AP-JP-1")
HOSTS = 300
"""Of each kind."""
_COUNTS = (1, 2, 4, 8)
_PREMIUM = {"SECURE": 1.35, "COMMUNITY": 1.0}
_CUDA = ("12.4", "12.6", "12.8", "12.9", "13.0")
_LEVELS = ("NONE", "LOW", "MEDIUM", "HIGH")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of machine on one cloud. price: dollars an hour for one GPU. level: whether there are
    any. centers: the data centres that have some, and how many."""

    gpu_id: str
    cloud: str
    price: float
    level: str
    centers: tuple[tuple[str, str], ...]
    listings: tuple[Listing, ...]

    def listing(self, count: int) -> Listing | None:
        return next((one for one in self.listings if one.count == count), None)

    def host(self, count: int, rng: random.Random) -> tuple[str, Listing] | None:
        """A host's name and its machine, one of many."""
        listing = self.listing(count)
        if listing is None:
            return None
        number = rng.randrange(HOSTS)
        cuda = float(rng.choice(_CUDA))
        machine = Listing(
            listing.id,
            "runpod",
            listing.gpu,
            count,
            listing.price,
            rng.choice(self.centers)[0] if self.centers else DATA_CENTERS[0],
            listing.reliability,
            cuda,
            number,
            listing.vram_gb,
        )
        return f"{listing.id}#{number}", machine


class Catalog:
    """seed: the same one gives the same kinds, prices and places."""

    def __init__(self, seed: int) -> None:
        self.by_gpu: dict[tuple[str, str], Kind] = {}
        for gpu in gpus().values():
            for cloud in CLOUDS:
                kind = _kind(gpu.name, cloud, seed)
                self.by_gpu[cloud, kind.gpu_id] = kind

    @property
    def listed(self) -> Sequence[Listing]:
        """All kinds that there are some of, for the draws of faults."""
        return [
            one for kind in self.by_gpu.values() if kind.level != "NONE" for one in kind.listings
        ]

    def show(self, cloud: str, count: int, include: str, product: str) -> Json:
        """Raises Problem."""
        if cloud not in CLOUDS:
            raise Problem(400, f"cloud: {cloud} is not one of SECURE, COMMUNITY")
        told = include == "AVAILABILITY"
        if told and product != "POD":
            raise Problem(400, "product is required when availability is included")
        ids = dict.fromkeys(gpu_id for _, gpu_id in self.by_gpu)
        return {"gpus": [self._row(gpu_id, cloud, count, told) for gpu_id in ids]}

    def _row(self, gpu_id: str, cloud: str, count: int, told: bool) -> Json:
        secure, community = self.by_gpu["SECURE", gpu_id], self.by_gpu["COMMUNITY", gpu_id]
        gpu = secure.listings[0].gpu
        row: Json = {
            "id": gpu_id,
            "name": gpu.name,
            "manufacturer": "NVIDIA",
            "pool": f"POOL_{gpu.listed_gb + 1}",
            "memory": round(gpu.memory_mib / 1024),
            "secure": secure.level != "NONE",
            "community": community.level != "NONE",
            "price": {
                "secure": secure.price,
                "community": community.price,
                "serverless": round(secure.price * 1.6, 3),
            },
            "maxCount": {"secure": _COUNTS[-1], "community": _COUNTS[-1]},
        }
        if told:
            row |= _availability(self.by_gpu[cloud, gpu_id], count)
        return row


def _availability(kind: Kind, count: int) -> Json:
    level = kind.level if kind.listing(count) is not None else "NONE"
    return {
        "availability": level,
        "dataCenters": [
            {"id": center, "name": center, "availability": level} for center, level in kind.centers
        ],
        "cudaVersions": [{"version": cuda, "available": level != "NONE"} for cuda in _CUDA],
    }


def _kind(name: str, cloud: str, seed: int) -> Kind:
    rng = random.Random(f"runpod/{seed}/{cloud}/{name}")  # noqa: S311 - a simulation
    gpu = gpus()[name]
    price = max(round(gpu.price * _PREMIUM[cloud] * rng.uniform(0.95, 1.2), 2), 0.05)
    level = rng.choices(_LEVELS, weights=(2, 2, 3, 5))[0]
    places = rng.sample(DATA_CENTERS, 3) if level != "NONE" and cloud == "SECURE" else []
    short = name.replace(" ", "_")
    listings = tuple(
        Listing(
            f"runpod-{cloud.lower()}-{count}x-{short}",
            "runpod",
            gpu,
            count,
            round(price * count, 3),
            cloud.lower(),
            0.99 if cloud == "SECURE" else 0.97,
            0.0,
            0,
            gpu.listed_gb,
        )
        for count in _COUNTS
    )
    levels = _LEVELS[1:]
    return Kind(
        gpu.smi, cloud, price, level, tuple((one, rng.choice(levels)) for one in places), listings
    )
