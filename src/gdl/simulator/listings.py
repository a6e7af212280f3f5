"""What the simulated market lists: a fixed list of about sixty offers, or any number made from a
seed. The GPUs' figures are the makers' own; prices and places are made up, within what is usual."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from functools import cache
from typing import Any

from gdl import shipped
from gdl.domain.lazy_dataclass import dataclass

USERS = {"vastai": "root", "tensordock": "user", "bluelobster": "ubuntu"}
"""Login names by provider."""

_DRIVERS = {
    11.4: "470.256.02",
    11.8: "520.61.05",
    12.2: "535.183.01",
    12.4: "550.127.05",
    12.6: "560.35.03",
    12.8: "570.124.06",
    12.9: "575.57.08",
    13.0: "580.65.06",
}
_UNLISTED_CUDA = 13.0
"""What runs on machines whose marketplace tells no CUDA version."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """name: as marketplaces write it; smi: as nvidia-smi does. bandwidth: GB/s of its memory.
    price: dollars an hour that are usual for one."""

    name: str
    smi: str
    memory_mib: int
    capability: str
    bandwidth: float
    price: float

    @property
    def listed_gb(self) -> int:
        """As marketplaces floor it: 24 564 MiB is listed as 23."""
        return self.memory_mib // 1024


@dataclass(frozen=True, slots=True)
class Listing:
    """One offer. cuda 0: not told. machine: number of the physical machine, 0 where the
    marketplace does not tell. vram_gb: of each GPU, as listed."""

    id: str
    provider: str
    gpu: Gpu
    count: int
    price: float
    location: str
    reliability: float
    cuda: float
    machine: int
    vram_gb: int

    @property
    def provider_id(self) -> str:
        return self.id[len(self.provider) + 1 :]

    @property
    def machine_id(self) -> str:
        return f"{self.provider}-machine-{self.machine}" if self.machine else ""

    @property
    def driver(self) -> str:
        return _DRIVERS.get(self.driver_cuda, _DRIVERS[12.8])

    @property
    def driver_cuda(self) -> float:
        return self.cuda or _UNLISTED_CUDA

    @property
    def user(self) -> str:
        return USERS.get(self.provider, "root")

    def wire(self, confidence: float, fetched_at: str) -> dict[str, Any]:
        """As the service sends it; what is not known is omitted."""
        row: dict[str, Any] = {
            "id": self.id,
            "provider": self.provider,
            "provider_id": self.provider_id,
            "gpu_type": self.gpu.name,
            "gpu_count": self.count,
            "vram_gb": self.vram_gb,
            "price_per_hour": self.price,
            "location": self.location,
            "reliability": self.reliability,
            "available": True,
            "max_duration_hours": 0,
            "fetched_at": fetched_at,
            "availability_confidence": round(confidence, 4),
        }
        if self.cuda:
            # As a JSON number of the real service: 13, not 13.0.
            row["cuda_version"] = int(self.cuda) if self.cuda == int(self.cuda) else self.cuda
        if self.machine:
            row["machine_id"] = self.machine_id
        return row


@cache
def _data() -> dict[str, Any]:
    return shipped.table(__file__, "listings.toml")


@cache
def gpus() -> Mapping[str, Gpu]:
    """The GPUs known, by the name that marketplaces give them."""
    return {name: Gpu(name, **row) for name, row in _data()["gpu"].items()}


def read_rows(rows: list[list[Any]]) -> tuple[Listing, ...]:
    """Rows as in listings.toml; a ninth column is the listed VRAM, where it is not the floored one.
    Raises KeyError for an unknown GPU, ValueError for a row of another length."""
    made = []
    for ident, gpu, count, price, location, reliability, cuda, machine, *more in rows:
        provider = ident.split(":" if ident.startswith("bluelobster") else "-")[0]
        made.append(
            Listing(
                ident,
                provider,
                gpus()[gpu],
                count,
                float(price),
                location,
                float(reliability),
                float(cuda),
                machine,
                more[0] if more else gpus()[gpu].listed_gb,
            )
        )
    return tuple(made)


def standard() -> tuple[Listing, ...]:
    """The fixed list."""
    return read_rows(_data()["offers"])


def listings(count: int, seed: int) -> tuple[Listing, ...]:
    """`count` offers; 0 or the length of the fixed list: that list. More are made from the seed,
    fewer are its cheapest."""
    fixed = standard()
    if count <= 0 or count == len(fixed):
        return fixed
    if count < len(fixed):
        return tuple(sorted(fixed, key=lambda o: (o.price, o.id))[:count])
    rng = random.Random(f"offers/{seed}")  # noqa: S311 - a simulation
    return fixed + tuple(_made(rng, number) for number in range(count - len(fixed)))


def _made(rng: random.Random, number: int) -> Listing:
    gpu = rng.choice(list(gpus().values()))
    count = rng.choices((1, 2, 4, 8), weights=(12, 3, 2, 1))[0]
    price = round(max(gpu.price * count * rng.lognormvariate(0.1, 0.3), 0.03), 3)
    places = _data()["places"]
    draw = rng.random()
    if draw < 0.85:
        cuda = rng.choice((12.2, 12.4, 12.6, 12.8, 12.8, 12.9, 13.0, 13.0))
        return Listing(
            f"vastai-{20_000_000 + number}",
            "vastai",
            gpu,
            count,
            price,
            rng.choice(places["vastai"]),
            round(min(1 - rng.expovariate(120), 0.9999), 4),
            cuda,
            30_000 + number // 2,
            gpu.listed_gb,
        )
    provider = "tensordock" if draw < 0.97 else "bluelobster"
    place = rng.choice(places[provider])
    short = gpu.name.lower().replace(" ", "")
    if provider == "tensordock":
        ident = f"tensordock-{uuid.UUID(int=rng.getrandbits(128), version=4)}-{short}"
    else:
        ident = f"bluelobster:v1_gpu_{count}x_{short}:r{number}"
    return Listing(ident, provider, gpu, count, price, place, 0.99, 0.0, 0, gpu.listed_gb)
