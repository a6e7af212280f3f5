"""RunPod's network volumes: disks in a data centre that pods of the secure cloud can mount."""

from __future__ import annotations

from collections.abc import Sequence

from gdl.backends.http import NoAnswer
from gdl.backends.runpod.catalogue import SECURE, GpuWire, Kind
from gdl.backends.runpod.pages import API, RunpodApi, gpus
from gdl.backends.runpod.wire import BACKEND, VolumeWire
from gdl.backends.scalars import is_session_id
from gdl.domain.errors import BackendError, UsageError
from gdl.domain.offers import Offer
from gdl.domain.text import one_line
from gdl.domain.volumes import Volume

_LEAST_GB, _MOST_GB = 10, 4096
_PATH = "/network-volumes"


class NetworkVolumes:
    """timeout: seconds for a request that makes or deletes one."""

    def __init__(self, api: RunpodApi, timeout: float) -> None:
        self._api = api
        self._timeout = timeout

    async def all(self) -> Sequence[Volume]:
        rows = await self._api.listed(_PATH, "networkVolumes", VolumeWire, "list the volumes")
        return tuple(row.to_domain() for row in rows)

    async def place_of(self, volume_id: str) -> str:
        """The data centre of a volume. Raises UsageError when there is no such volume."""
        unknown = UsageError(
            f"RunPod has no volume {one_line(volume_id, 60)}",
            "RunPod's console, or gdl-tui's list of volumes, shows those there are",
        )
        if not is_session_id(volume_id):
            raise unknown
        answer = await self._api.http.get(f"{API}{_PATH}/{volume_id}")
        if self._api.errors.gone(answer):
            raise unknown
        data = self._api.data(answer, "show a volume")
        return self._api.model(VolumeWire, data).dataCenter

    async def make(self, offer: Offer, name: str, size_gb: int) -> Volume:
        """A volume where that offer's machines are. Raises UsageError for what RunPod does not
        have."""
        if not _LEAST_GB <= size_gb <= _MOST_GB:
            raise UsageError(
                f"RunPod's volumes have {_LEAST_GB} to {_MOST_GB} GB, not {size_gb}",
                "choose another size",
            )
        place = await self._place_for(offer)
        before = {volume.id for volume in await self.all()}
        body = {"name": name, "size": size_gb, "dataCenter": place}
        try:
            answer = await self._api.http.send(
                "POST", API + _PATH, body=body, timeout=self._timeout
            )
        except NoAnswer as missing:
            return await self._made(name, before, missing.what)
        turned_down = self._api.errors.problem(answer)
        if turned_down is not None and 400 <= answer.status < 500:
            raise self._api.errors.refused(answer, f"make a volume in {place}")
        try:
            data = self._api.data(answer, f"make a volume in {place}")
            return self._api.model(VolumeWire, data).to_domain()
        except BackendError as error:
            return await self._made(name, before, error.message)

    async def _made(self, name: str, before: set[str], what: str) -> Volume:
        """What a request has made whose answer did not arrive. It is never repeated: a volume costs
        until it is deleted."""
        new = [v for v in await self.all() if v.id not in before and v.name == name]
        if len(new) == 1:
            return new[0]
        raise BackendError(
            f"the request for a volume was not answered ({what}), and none of its name is listed",
            "check RunPod's console whether it was created: it costs money until it is deleted",
        )

    async def delete(self, volume_id: str) -> None:
        """No error when there is none."""
        if not is_session_id(volume_id):
            return
        answer = await self._api.http.change(
            "DELETE", f"{API}{_PATH}/{volume_id}", timeout=self._timeout
        )
        if not answer.ok and not self._api.errors.gone(answer):
            raise self._api.errors.refused(answer, f"delete volume {volume_id}")

    async def _place_for(self, offer: Offer) -> str:
        kind = Kind.of(offer.id) if offer.backend == BACKEND else None
        if kind is None or kind.cloud != SECURE:
            raise UsageError(
                f"machines of offer {one_line(offer.id, 80)} mount no volume of RunPod's",
                "choose an offer of its secure cloud",
            )
        if kind.place:
            return kind.place
        there = await self._stock(kind)
        able = await self._with_volumes()
        best = sorted(there.keys() & able, key=lambda place: (-there[place], place))
        if not best:
            raise UsageError(
                f"no data centre with volumes has {one_line(offer.gpu_name, 40)} now",
                "choose another kind of GPU, or do without a volume",
            )
        return best[0]

    async def _stock(self, kind: Kind) -> dict[str, int]:
        """The data centres that have such machines now, and how well."""
        for row in await gpus(self._api, kind.cloud, kind.count):
            if isinstance(row, dict) and row.get("id") == kind.gpu_id:
                return self._api.model(GpuWire, row).places()
        return {}

    async def _with_volumes(self) -> set[str]:
        rows = await self._api.rows("/catalog/datacenters", "dataCenters", "list its data centres")
        having = (row for row in rows if isinstance(row, dict) and row.get("networkVolumeTypes"))
        return {str(row.get("id")) for row in having}
