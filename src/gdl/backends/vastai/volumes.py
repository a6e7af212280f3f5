"""Volumes of Vast.ai: each is a part of the disk of one machine."""

from __future__ import annotations

import re

from pydantic import ValidationError

from gdl.backends.vastai import wire
from gdl.backends.vastai.api_client import V0, VastHttp
from gdl.domain.errors import BackendError, MachineError, UsageError
from gdl.domain.offers import Offer
from gdl.domain.text import one_line
from gdl.domain.volumes import Volume

_PATH = f"{V0}/volumes/"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Volumes:
    """Raises BackendUnreachable, BackendRefused, BackendError."""

    def __init__(self, http: VastHttp) -> None:
        self._http = http

    async def all(self) -> list[Volume]:
        params = {"owner": "me", "type": "local_volume"}
        data = await self._http.get_data(_PATH, "list the volumes", params)
        rows = data.get("volumes")
        if not isinstance(rows, list):
            raise self._http.wrong_shape("a list of volumes")
        try:
            return [wire.VolumeWire.model_validate(row).to_domain() for row in rows]
        except ValidationError:
            raise self._http.wrong_shape("the id of a volume") from None

    async def make(self, offer: Offer, name: str, size_gb: int) -> Volume:
        """On the offer's machine. Where the answer is missing, the one of that name is taken; a
        name is therefore used once. Raises UsageError, MachineError."""
        if not _NAME.fullmatch(name) or size_gb < 1:
            raise UsageError(
                f"no usable volume: {one_line(name, 64)}, {size_gb} GB",
                "a name has letters, digits, `_`, `.` and `-`, a size is at least 1 GB",
            )
        if any(each.name == name for each in await self.all()):
            raise UsageError(f"a volume {name} already exists", "take another name")
        ask = await self._ask(offer, size_gb)
        body = {"id": ask, "size": size_gb, "name": name}
        try:
            answer = await self._http.change("PUT", _PATH, body=body)
        except BackendError as error:
            return await self._named(name, error)
        self._http.data(answer, f"make a volume on machine {offer.machine_id}")
        return await self._named(name, self._http.wrong_shape(f"the volume {name}"))

    async def delete(self, volume_id: str) -> None:
        """One that is not there is no error. Refused while a machine has it mounted."""
        if not volume_id.isdigit():
            return
        if all(each.id != volume_id for each in await self.all()):
            return
        answer = await self._http.change("DELETE", _PATH, params={"id": volume_id}, body={})
        self._http.data(answer, f"delete volume {volume_id}")

    async def _named(self, name: str, error: BackendError) -> Volume:
        found = next((each for each in await self.all() if each.name == name), None)
        if found is None:
            raise error
        return found

    async def _ask(self, offer: Offer, size_gb: int) -> int:
        """What the machine of an offer lets of its disk."""
        if offer.machine_id is None or not offer.machine_id.isdigit():
            raise UsageError(f"offer {offer.id} has no named machine", "take another offer")
        body = {
            "machine_id": {"eq": int(offer.machine_id)},
            "disk_space": {"gte": size_gb},
            "order": [["storage_cost", "asc"]],
            "limit": 1,
            "allocated_storage": size_gb,
        }
        answer = await self._http.read("POST", f"{_PATH}search/", body=body)
        rows = self._http.data(answer, "list its volumes").get("offers")
        if not isinstance(rows, list):
            raise self._http.wrong_shape("a list of volumes")
        for row in rows:
            try:
                return wire.VolumeWire.model_validate(row).id
            except ValidationError:
                continue
        raise MachineError(
            f"machine {offer.machine_id} does not offer {size_gb} GB of its disk as a volume",
            "take a smaller one, or another machine",
        )
