"""What the stand-in for RunPod does when it is asked. api.py asks, one method a request."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncssh

from gdl.simulator import fault_models
from gdl.simulator.contracts import Account, Contract, Meter
from gdl.simulator.fault_draws import Draws, OfferFaults
from gdl.simulator.hosting import DestroyRefused, Hosting
from gdl.simulator.listings import Listing
from gdl.simulator.runpod import pods
from gdl.simulator.runpod.catalog import DATA_CENTERS, Catalog, Kind
from gdl.simulator.runpod.errors import Problem, no_capacity, no_credit, no_such_pod
from gdl.simulator.wire_format import Json

_USUAL_DISK_GB = 20
_MONTH_H = 30 * 24
_DISK_USD = 0.10
"""A GB and month."""
_VOLUME_USD = 0.07
_MOST_ROWS = 1000
_USUAL_ROWS = 100
_TRIES = 20
"""Hosts that are looked at for one with the CUDA version asked for."""


@dataclass(slots=True, eq=False)
class NetworkVolume:
    id: str
    account: Account
    name: str
    size_gb: int
    center: str
    meter: Meter = field(default_factory=Meter)

    def row(self) -> Json:
        return {
            "id": self.id,
            "name": self.name,
            "size": self.size_gb,
            "dataCenter": self.center,
            "type": "STANDARD",
        }


class RunpodMarket:
    """The catalogue, pods and network volumes."""

    def __init__(self, catalog: Catalog, draws: Draws, hosting: Hosting) -> None:
        self.catalog = catalog
        self._draws = draws
        self.hosting = hosting
        self.volumes: dict[str, NetworkVolume] = {}
        # Not from the seed: who keeps a journal must never meet the same id in two markets.
        self._chance = random.SystemRandom()
        self._rented = 0

    def _ident(self, length: int) -> str:
        return "".join(self._chance.choices(string.ascii_lowercase + string.digits, k=length))

    # -- renting ---------------------------------------------------------------------------------

    async def create(self, account: Account, body: Json) -> Json:
        """Raises Problem. Whoever does not wait for the answer gets the pod, too."""
        pods.check(body)
        gpu, cloud = body["gpu"], body.get("cloud", "SECURE")
        kind = self.catalog.by_gpu.get((cloud, gpu["id"]))
        if kind is None:
            raise Problem(422, "The request could not be read.", ["gpu.id: unknown GPU"])
        if account.credit - self.hosting.spent(account) <= 0:
            raise no_credit()
        keys = _public_keys(account, body)
        volume = self._mounted(account, body)
        contract = self._placed(account, kind, body, volume)
        for key in keys:
            contract.keys.append(key)
        faults = contract.faults
        await self.hosting.pause(self.hosting.timing.create)
        refused = faults.first(fault_models.Refused)
        if faults.first(fault_models.Stale) is not None:
            raise no_capacity()
        small = faults.first(fault_models.Disk)
        if small is not None and contract.disk_gb < small.recommended_gb * 0.8:
            raise Problem(400, f"disk: {contract.disk_gb} GB cannot be had there")
        if refused is not None and not refused.made:
            raise Problem(refused.status, refused.error)
        slow = faults.first(fault_models.SlowCreate)
        if slow is not None:
            await self.hosting.pause(slow.after)
        self.hosting.add(contract)
        if refused is not None:
            raise Problem(refused.status, refused.error)
        return pods.row(contract)

    def _placed(
        self, account: Account, kind: Kind, body: Json, volume: NetworkVolume | None
    ) -> Contract:
        """On one of the many hosts of that kind. Raises Problem when there is none."""
        gpu = body["gpu"]
        count = gpu.get("count", 1)
        asked = kind.listing(count)
        if kind.level == "NONE" or asked is None:
            raise no_capacity()
        wanted = set(body.get("dataCenterIds") or DATA_CENTERS)
        if volume is not None:
            wanted &= {volume.center}
        if kind.centers and not wanted & {center for center, _ in kind.centers}:
            raise no_capacity()
        name, machine = self._host(kind, count, str(gpu.get("minCudaVersion") or "0.0"))
        disk = int(body.get("disk") or _USUAL_DISK_GB)
        faults = self._draws.of_session(asked, name)
        contract = Contract(
            self._ident(14),
            account,
            machine,
            faults,
            str(body["name"]),
            disk,
            asked.price,
            disk * _DISK_USD / _MONTH_H,
        )
        contract.values = dict(body)
        if not pods.brings_sshd(body):
            # The container runs, and nothing in it answers.
            contract.faults = OfferFaults((*faults, fault_models.SshDead(way="both")))
        return contract

    def _host(self, kind: Kind, count: int, least_cuda: str) -> tuple[str, Listing]:
        least = tuple(int(part) for part in least_cuda.split("."))
        for _ in range(_TRIES):
            self._rented += 1
            found = kind.host(count, self._draws.random("placed", self._rented))
            if found is not None and _version(found[1].cuda) >= least:
                return found
        raise no_capacity()

    def _mounted(self, account: Account, body: Json) -> NetworkVolume | None:
        """Raises Problem for a volume that there is not."""
        network = (body.get("mounts") or {}).get("network") or []
        if len(network) > 1:
            raise Problem(400, "mounts.network: one volume at most")
        if not network:
            return None
        return self.volume(account, str(network[0].get("volumeId")))

    # -- pods ------------------------------------------------------------------------------------

    def found(self, account: Account, ident: str) -> Contract:
        """Raises Problem."""
        contract = self.hosting.find(account, ident)
        if contract is None:
            raise no_such_pod(ident)
        return contract

    def list_page(self, account: Account, query: Json) -> Json:
        rows = [pods.row(one) for one in self.hosting.of(account)]
        return paged("pods", rows, query)

    def destroy(self, account: Account, ident: str) -> None:
        contract = self.found(account, ident)
        try:
            self.hosting.destroy(contract)
        except DestroyRefused:
            raise Problem(500, f"The pod {ident} cannot be terminated now.") from None

    async def act(self, account: Account, ident: str, action: str) -> Json:
        """start, stop, restart or terminate. Raises Problem."""
        contract = self.found(account, ident)
        if action not in pods.row(contract)["actions"]:
            raise Problem(409, f"{action} is not possible while {pods.status(contract)}")
        if action == "terminate":
            self.destroy(account, ident)
        elif action == "stop":
            await self.hosting.stop(contract)
        elif action == "restart":
            await self.hosting.reboot(contract)
        else:
            self.hosting.begin(contract)
        return pods.row(contract)

    # -- network volumes -------------------------------------------------------------------------

    def volume(self, account: Account, ident: str) -> NetworkVolume:
        """Raises Problem."""
        volume = self.volumes.get(ident)
        if volume is None or volume.account is not account:
            raise Problem(404, f"The network volume {ident} does not exist.")
        return volume

    def make_volume(self, account: Account, body: Json) -> Json:
        size, center = body.get("size"), body.get("dataCenter")
        if not isinstance(size, int) or not 10 <= size <= 4096:
            raise Problem(422, "The request could not be read.", ["size: 10 to 4096"])
        if center not in DATA_CENTERS or not body.get("name"):
            raise Problem(400, f"dataCenter: {center} has no network volumes")
        volume = NetworkVolume(self._ident(10), account, str(body["name"]), size, str(center))
        volume.meter.run(size * _VOLUME_USD / _MONTH_H)
        self.volumes[volume.id] = volume
        return volume.row()

    def delete_volume(self, account: Account, ident: str) -> None:
        volume = self.volume(account, ident)
        for one in self.hosting.of(account):
            if f"'volumeId': '{volume.id}'" in str(one.values.get("mounts")):
                raise Problem(409, "The network volume is used by a pod.")
        del self.volumes[volume.id]

    def list_volumes(self, account: Account, query: Json) -> Json:
        rows = [one.row() for one in self.volumes.values() if one.account is account]
        return paged("networkVolumes", rows, query)

    # -- billing ---------------------------------------------------------------------------------

    def charges(self, account: Account, query: Json) -> Json:
        """One record a pod, terminated ones included. Raises Problem."""
        since, until = _moment(query, "startTime"), _moment(query, "endTime")
        now = datetime.now(UTC)
        records = []
        for one in self.hosting.contracts.values():
            end = one.disk.ended or now
            if one.account is not account or end < (since or end) or one.made > (until or now):
                continue
            gpu, disk = one.gpu.dollars(now), one.disk.dollars(now)
            records.append(
                {
                    "startTime": one.made.isoformat().replace("+00:00", "Z"),
                    "endTime": end.isoformat().replace("+00:00", "Z"),
                    "podId": one.id,
                    "totalAmount": gpu + disk,
                    "gpuAmount": gpu,
                    "cpuAmount": 0.0,
                    "diskAmount": disk,
                }
            )
        return {"records": records, "metadata": {}}


def paged(name: str, rows: Sequence[Json], query: Json) -> Json:
    """One page of a list. Raises Problem."""
    try:
        limit = min(max(int(query.get("limit") or _USUAL_ROWS), 1), _MOST_ROWS)
        last = base64.urlsafe_b64decode(str(query.get("cursor") or "")).decode()
    except ValueError:
        raise Problem(400, "limit or cursor cannot be read") from None
    places = [place for place, row in enumerate(rows) if row["id"] == last]
    start = places[0] + 1 if places else 0
    found = list(rows[start : start + limit])
    more = start + limit < len(rows)
    cursor = base64.urlsafe_b64encode(str(found[-1]["id"]).encode()).decode() if more else None
    return {name: found, "pagination": {"nextCursor": cursor, "hasNextPage": more}}


def _version(cuda: float) -> tuple[int, ...]:
    return tuple(int(part) for part in f"{cuda:.1f}".split("."))


def _public_keys(account: Account, body: Json) -> list[asyncssh.SSHKey]:
    """Those of the account, and the one that the request brings. Raises Problem."""
    texts = [*account.public_keys, str((body.get("env") or {}).get("PUBLIC_KEY") or "")]
    found = []
    for text in texts:
        for line in text.splitlines():
            try:
                found.append(asyncssh.import_public_key(line))
            except (asyncssh.KeyImportError, ValueError):
                continue
    return found


def _moment(query: Json, name: str) -> datetime | None:
    text = query.get(name)
    if not text:
        return None
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        raise Problem(400, f"{name} is not a date") from None
