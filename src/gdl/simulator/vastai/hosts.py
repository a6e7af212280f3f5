"""The hosts of the stand-in for Vast.ai, and the rows that its search answers. Prices, places and
figures of the machines are made up, within what is usual there."""

from __future__ import annotations

import random
import time

from gdl.domain.lazy_dataclass import dataclass
from gdl.simulator.listings import Listing, listings, standard
from gdl.simulator.wire_format import Json

_MONTH_H = 30 * 24
_DAY_S = 86_400.0
_MADE_UP = 0.85
"""Of the offers made from a seed, that share is at Vast.ai."""


@dataclass(frozen=True, slots=True)
class Host:
    """One offer and what is told of its machine. storage_cost: dollars a GB and month; down_cost,
    up_cost: dollars a GB; down, up: Mbit/s; min_bid: dollars an hour."""

    listing: Listing
    host_id: int
    storage_cost: float
    down_cost: float
    up_cost: float
    down: float
    up: float
    disk_space: float
    cores: float
    ram_mb: int
    min_bid: float
    days: float

    @property
    def ask_id(self) -> int:
        return int(self.listing.provider_id)

    @property
    def price(self) -> float:
        return self.listing.price

    def disk_price(self, gb: float) -> float:
        """Dollars an hour for so much disk."""
        return gb * self.storage_cost / _MONTH_H

    def row(self, storage_gb: float, kind: str, rented: bool) -> Json:
        """As the search answers it. kind: on-demand, bid or reserved."""
        one, gpu = self.listing, self.listing.gpu
        disk = self.disk_price(storage_gb)
        ram = gpu.memory_mib
        return {
            "id": self.ask_id,
            "ask_contract_id": self.ask_id,
            "bundle_id": self.ask_id + 7,
            "bundled_results": 1,
            "machine_id": one.machine,
            "host_id": self.host_id,
            "hosting_type": 0,
            "gpu_name": gpu.name,
            "num_gpus": one.count,
            "gpu_ram": ram,
            "gpu_total_ram": ram * one.count,
            "gpu_frac": 1.0,
            "gpu_arch": "nvidia",
            "gpu_mem_bw": gpu.bandwidth,
            "gpu_display_active": False,
            "compute_cap": round(float(gpu.capability) * 100),
            "cuda_max_good": one.cuda,
            "driver_version": one.driver,
            "cpu_name": "Xeon® E5-2680 v4",
            "cpu_arch": "amd64",
            "cpu_cores": int(self.cores * 2),
            "cpu_cores_effective": self.cores,
            "cpu_ghz": 2.4,
            "cpu_ram": self.ram_mb,
            "has_avx": 1,
            "disk_space": self.disk_space,
            "disk_bw": 1800.0,
            "disk_name": "nvme",
            "inet_down": self.down,
            "inet_up": self.up,
            "inet_down_cost": self.down_cost,
            "inet_up_cost": self.up_cost,
            "direct_port_count": 100,
            "static_ip": False,
            "pci_gen": 4.0,
            "pcie_bw": 22.5,
            "mobo_name": "X99",
            "os_version": "22.04",
            "dph_base": one.price,
            "dph_total": one.price + disk,
            "storage_cost": self.storage_cost,
            "storage_total_cost": disk,
            "min_bid": self.min_bid,
            "is_bid": kind == "bid",
            "dlperf": 20.0 * one.count,
            "dlperf_per_dphtotal": 20.0 * one.count / (one.price + disk),
            "total_flops": 35.0 * one.count,
            "flops_per_dphtotal": 35.0 * one.count / (one.price + disk),
            "score": round(100 * one.reliability / (one.price + disk), 3),
            "reliability": one.reliability,
            "reliability2": one.reliability,
            "verification": "verified",
            "verified": True,
            "external": False,
            "rentable": not rented,
            "rented": rented,
            "vms_enabled": False,
            "geolocation": one.location,
            "duration": self.days * _DAY_S,
            "end_date": time.time() + self.days * _DAY_S,
            "start_date": time.time() - 90 * _DAY_S,
            "avail_vol_ask_id": self.ask_id + 50_000_000,
            "avail_vol_size": self.disk_space / 2,
        }


def hosts(count: int, seed: int) -> tuple[Host, ...]:
    """`count` hosts; 0: those of the fixed list. Fewer are its cheapest."""
    fixed = [one for one in standard() if one.provider == "vastai"]
    if count and count <= len(fixed):
        fixed = sorted(fixed, key=lambda one: (one.price, one.id))[:count]
    elif count:
        wanted = len(standard()) + round((count - len(fixed)) / _MADE_UP * 1.1) + 20
        made = [one for one in listings(wanted, seed) if one.provider == "vastai"]
        fixed = made[:count]
    return tuple(of_listing(one, seed) for one in fixed)


def of_listing(one: Listing, seed: int) -> Host:
    """The rest of what is told of an offer, by chance from the seed."""
    rng = random.Random(f"host/{seed}/{one.id}")  # noqa: S311 - a simulation
    return Host(
        one,
        50_000 + one.machine // 3,
        round(rng.uniform(0.08, 0.35), 3),
        round(rng.choice((0.0, 0.002, 0.005, 0.01, 0.02, 0.03)), 4),
        round(rng.choice((0.0, 0.002, 0.005, 0.01, 0.02, 0.04)), 4),
        round(rng.choice((90.0, 250.0, 480.0, 800.0, 2400.0, 6000.0)) * rng.uniform(0.8, 1.1), 1),
        round(rng.uniform(50, 900), 1),
        round(rng.uniform(120, 1800), 1),
        float(rng.choice((8, 12, 16, 24, 32)) * one.count),
        rng.choice((32_000, 64_000, 128_000, 256_000)) * max(one.count // 2, 1),
        round(one.price * rng.uniform(0.4, 0.8), 4),
        round(rng.uniform(2, 90), 2),
    )
