"""What the search of the stand-in for Vast.ai answers."""

from __future__ import annotations

import time
from collections.abc import Mapping

from gdl.simulator import fault_models
from gdl.simulator.fault_draws import Draws
from gdl.simulator.hosting import Hosting
from gdl.simulator.vastai import search
from gdl.simulator.vastai.errors import VastRefusal
from gdl.simulator.vastai.hosts import Host
from gdl.simulator.wire_format import Json

_TAKEN: Json = {"rentable": False, "rented": True}


class Offers:
    """hosts: by the id of their offer."""

    def __init__(self, hosts: Mapping[int, Host], draws: Draws, hosting: Hosting) -> None:
        self.hosts = hosts
        self._draws = draws
        self.hosting = hosting
        self._rows: dict[tuple[str, float, int], dict[int, Json]] = {}
        self._taken: frozenset[str] = frozenset()
        self._taken_at = 0.0

    def found_taken(self) -> None:
        """An offer was taken though it is listed: the list is made anew."""
        self._taken_at = 0.0

    def search(self, query: Json) -> list[Json]:
        """Raises VastRefusal."""
        kind = str(query.get("type", "on-demand"))
        if kind not in ("on-demand", "ask", "bid", "reserved"):
            raise VastRefusal(400, "invalid_args", f"error 400/1001: type {kind}")
        storage = query.get("allocated_storage", 5.0)
        if not isinstance(storage, int | float) or storage < 0:
            raise VastRefusal(400, "invalid_args", "error 400/1005: allocated_storage")
        return search.find(self._listed(kind, float(storage)), query)

    def gpu_names(self) -> list[str]:
        return sorted({host.listing.gpu.name for host in self.hosts.values()})

    def _listed(self, kind: str, storage: float) -> list[Json]:
        """All rows; which of them are taken is as old as the marketplace's own list at most."""
        key = (kind, storage, self._draws.version)
        rows = self._rows.get(key)
        if rows is None:
            self._rows.clear()
            made = [self._row(host, kind, storage) for host in self.hosts.values()]
            rows = self._rows[key] = {
                host.ask_id: row for host, row in zip(self.hosts.values(), made, strict=True)
            }
        age = self.hosting.timing.cache / self.hosting.speed
        if time.monotonic() - self._taken_at > age:
            self._taken, self._taken_at = self.hosting.taken_ids(), time.monotonic()
        return [
            row if self.hosts[ask].listing.id not in self._taken else row | _TAKEN
            for ask, row in rows.items()
        ]

    def _row(self, host: Host, kind: str, storage: float) -> Json:
        row = host.row(storage, kind, False)
        if not self._draws.may(fault_models.Listed):
            return row
        listed = self._draws.of_offer(host.listing).first(fault_models.Listed)
        for name, value in (listed.fields if listed else {}).items():
            if value is None:
                row.pop(name, None)
            else:
                row[name] = value
        return row
