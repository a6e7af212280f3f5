"""Volumes of the stand-in for Vast.ai: each lies on one machine, and only that one can mount it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gdl.simulator.contracts import Account, Meter
from gdl.simulator.hosting import Hosting
from gdl.simulator.vastai.errors import VastRefusal
from gdl.simulator.vastai.hosts import Host
from gdl.simulator.vastai.search import find
from gdl.simulator.wire_format import Json

ASK_OFFSET = 50_000_000
"""From the id of an offer to that of its machine's offer of volumes."""
_LEAST_GB = 1


@dataclass(slots=True, eq=False)
class HeldVolume:
    id: int
    account: Account
    host: Host
    name: str
    size_gb: int
    made: datetime
    meter: Meter = field(default_factory=Meter)
    gone: bool = False


class Volumes:
    def __init__(self, hosts: Sequence[Host], hosting: Hosting) -> None:
        self._hosts = {host.ask_id + ASK_OFFSET: host for host in hosts}
        self._hosting = hosting
        self.held: dict[int, HeldVolume] = {}
        self._next_id = 30_000_000 + random.SystemRandom().randrange(1_000_000)

    def search(self, query: Json) -> list[Json]:
        rows = (self._offer(ask, host) for ask, host in self._hosts.items())
        # Here an offer is found by its `id`.
        wanted = {("ask_contract_id" if k == "id" else k): v for k, v in query.items()}
        return find(rows, wanted)

    def _offer(self, ask: int, host: Host) -> Json:
        row = host.row(1.0, "on-demand", False)
        return {**row, "id": ask, "ask_contract_id": ask, "disk_space": host.disk_space / 2}

    def make(self, account: Account, body: Json) -> Json:
        """Raises VastRefusal."""
        host = self._hosts.get(int(body.get("id") or 0))
        size = body.get("size")
        if host is None:
            raise VastRefusal(404, "no_such_ask", f"volume offer {body.get('id')} not found")
        if not isinstance(size, int) or not _LEAST_GB <= size <= host.disk_space / 2:
            raise VastRefusal(400, "invalid_args", f"error 400/4002: size {size}")
        self._next_id += 1
        volume = HeldVolume(
            self._next_id,
            account,
            host,
            str(body.get("name") or ""),
            size,
            datetime.now(UTC),
        )
        volume.meter.run(host.disk_price(size))
        self.held[volume.id] = volume
        return {"success": True, "volume_name": volume.name, "new_contract": volume.id}

    def rows(self, account: Account) -> list[Json]:
        return [self._row(one) for one in self._of(account)]

    def _of(self, account: Account) -> list[HeldVolume]:
        return [one for one in self.held.values() if one.account is account and not one.gone]

    def _row(self, volume: HeldVolume) -> Json:
        told = volume.host.row(1.0, "on-demand", True)
        kept = ("machine_id", "host_id", "driver_version", "inet_up", "inet_down", "reliability2")
        return {
            **{name: told[name] for name in (*kept, "verification", "geolocation", "disk_name")},
            "id": volume.id,
            "cluster_id": None,
            "label": volume.name,
            "disk_space": volume.size_gb,
            "storage_cost": volume.host.storage_cost,
            "storage_total_cost": volume.host.disk_price(volume.size_gb),
            "status": "active",
            "start_date": volume.made.timestamp(),
            "instances": self._users(volume),
        }

    def _users(self, volume: HeldVolume) -> list[int]:
        return [
            int(one.id)
            for one in self._hosting.of(volume.account)
            if isinstance(info := one.values.get("volume_info"), dict)
            and info.get("volume_id") == volume.id
        ]

    def delete(self, account: Account, ident: str) -> Json:
        """Raises VastRefusal."""
        volume = next((one for one in self._of(account) if str(one.id) == ident), None)
        if volume is None:
            raise VastRefusal(404, "no_such_volume", f"Volume {ident} not found.")
        if self._users(volume):
            raise VastRefusal(400, "volume_in_use", "Destroy the instances that use it first.")
        volume.gone = True
        volume.meter.stop()
        return {"success": True}

    def charges(self, account: Account, now: datetime) -> list[Json]:
        return [
            {
                "type": "volume",
                "source": f"volume-{one.id}",
                "description": f"Volume {one.id}",
                "amount": one.meter.dollars(now),
                "start": one.made.timestamp(),
                "end": (one.meter.ended or now).timestamp(),
                "metadata": {},
                "items": [],
            }
            for one in self.held.values()
            if one.account is account
        ]

    def spent(self, account: Account) -> float:
        now = datetime.now(UTC)
        return sum(one.meter.dollars(now) for one in self.held.values() if one.account is account)
