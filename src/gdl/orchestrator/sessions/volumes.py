"""Volumes: made, found again and deleted. The journal knows of one before its backend does."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gdl.backends.base import Backend, KeepsVolumes
from gdl.domain.errors import (
    BackendError,
    BackendRefused,
    BackendUnreachable,
    GdlError,
    MachineError,
    UsageError,
)
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.text import one_line
from gdl.domain.volumes import Volume, VolumeRecord
from gdl.journal import volumes as journaled
from gdl.journal.store import Journal
from gdl.orchestrator.api.read_only import changing
from gdl.orchestrator.api.volumes import VolumeList, VolumeRow, none_kept
from gdl.orchestrator.leasing.rent_proof import surely_not
from gdl.orchestrator.leasing.uninterrupted import uninterrupted

_STILL_COMING = timedelta(minutes=10)
"""For so long a volume whose request was not answered may still appear."""


class KeptVolumes:
    """See `api.volumes.Volumes`. backends: all that are used."""

    def __init__(
        self,
        backends: Sequence[Backend],
        journal: Journal,
        clock: Callable[[], datetime],
        *,
        read_only: bool,
    ) -> None:
        self.read_only = read_only
        self._backends = {b.name: b for b in backends if isinstance(b, KeepsVolumes)}
        self._all = {b.name: b for b in backends}
        self._journal = journal
        self._clock = clock
        self.keeps = bool(self._backends)

    async def list(self) -> VolumeList:
        found: dict[str, Sequence[Volume]] = {}
        silent: dict[str, str] = {}

        async def ask(name: str, backend: KeepsVolumes) -> None:
            try:
                found[name] = await backend.volumes()
            except GdlError as error:
                silent[name] = error.message

        await asyncio.gather(*(ask(name, backend) for name, backend in self._backends.items()))
        records = [await self._settled(r, found) for r in await self._open()]
        ours = {(r.backend, r.volume_id): r for r in records if r.volume_id and r.open}
        rows = []
        for volume in sorted((v for each in found.values() for v in each), key=lambda v: v.name):
            record = ours.get((volume.backend, volume.id))
            cost = None if record is None else round(record.cost(self._clock()), 6)
            users = await self._users(volume)
            rows.append(VolumeRow(volume, record is not None, users, cost))
        doubt = tuple(r for r in records if r.open and r.volume_id is None)
        return VolumeList(tuple(rows), doubt, silent)

    async def find(self, ident: str) -> Volume:
        listed = await self.list()
        wanted = ident.strip()
        named = [r.volume for r in listed.rows if wanted in (r.volume.id, r.volume.name)]
        if len(named) == 1:
            return named[0]
        if named:
            ids = ", ".join(f"{v.id} at {v.backend}" for v in named[:4])
            raise UsageError(
                f"several volumes are called {one_line(wanted, 60)}: {ids}", "name one by its id"
            )
        if listed.silent:
            name, why = next(iter(listed.silent.items()))
            raise BackendError(f"{name} does not list its volumes: {why}", "try again later")
        if not self.keeps:
            raise none_kept(self._all)
        raise UsageError(f"no volume {one_line(wanted, 60)}", "`gdl-tui volumes` lists them")

    async def check(self, offer_id: str, name: str) -> None:
        await self._checked(offer_id, name)

    @changing("making a volume")
    async def make(self, offer_id: str, name: str, size_gb: int) -> Volume:
        backend, offer = await self._checked(offer_id, name)
        return await uninterrupted(self._make(backend, offer, name, size_gb))

    async def _checked(self, offer_id: str, name: str) -> tuple[str, Offer]:
        """The backend that lists an offer, and the offer. Raises UsageError, also for a name that
        is taken."""
        if not self.keeps:
            raise none_kept(self._all)
        listed = await self.list()
        taken = [r.volume.name for r in listed.rows] + [r.name for r in listed.in_doubt]
        if name in taken:
            raise UsageError(
                f"a volume {one_line(name, 60)} exists, or may exist",
                "choose another name: if an answer does not arrive, a volume is found by its name",
            )
        return await self._offer(offer_id)

    async def _offer(self, offer_id: str) -> tuple[str, Offer]:
        """The backend that lists an offer, and the offer. Raises UsageError."""
        for name in self._backends:
            for offer in await self._all[name].offers(OfferQuery(offer_id=offer_id)):
                if offer.id == offer_id:
                    return name, offer
        raise UsageError(
            f"offer {one_line(offer_id, 60)} is not listed, or its market has no volumes",
            "`gdl-tui offers` lists them",
        )

    async def _make(self, backend: str, offer: Offer, name: str, size_gb: int) -> Volume:
        record = VolumeRecord(
            uuid.uuid4().hex, backend, name, size_gb, self._clock(), self._all[backend].service_url
        )
        await journaled.save(self._journal, record)
        try:
            volume = await self._backends[backend].make_volume(offer, name, size_gb)
        except (UsageError, MachineError, BackendUnreachable):
            await self._gone(record)
            raise
        except BackendRefused as error:
            if surely_not(error):
                await self._gone(record)
            raise
        except BackendError as error:
            raise BackendError(
                f"{error.message}; whether the volume {one_line(name, 60)} was created is not "
                "known",
                "`gdl-tui volumes` looks for it by its name",
            ) from None
        await journaled.save(self._journal, _with(record, volume))
        return volume

    @changing("deleting a volume")
    async def delete(self, ident: str) -> Volume:
        volume = await self.find(ident)
        if users := await self._users(volume):
            raise UsageError(
                f"session {users[0]} has the volume {volume.name} mounted",
                f"`gdl-tui destroy {users[0]}` first",
            )
        backend = self._backends[volume.backend]
        await backend.delete_volume(volume.id)
        if any(each.id == volume.id for each in await backend.volumes()):
            raise BackendError(
                f"{volume.backend} accepted the request, and still lists the volume {volume.name}",
                "try again in a minute: it costs money until it is gone",
            )
        for record in await self._open():
            if (record.backend, record.volume_id) == (volume.backend, volume.id):
                await self._gone(record)
        return volume

    # -- the journal -----------------------------------------------------------------------------

    async def _open(self) -> Sequence[VolumeRecord]:
        """Those of the services that are asked now."""
        asked = {(b.name, b.service_url) for b in self._all.values()}
        return [
            record
            for record in await journaled.known(self._journal)
            if record.open and (record.backend, record.service_url) in asked
        ]

    async def _settled(
        self, record: VolumeRecord, found: dict[str, Sequence[Volume]]
    ) -> VolumeRecord:
        """The record by what its backend lists: found by its name where its id is not known."""
        listed = found.get(record.backend)
        if listed is None:
            return record
        if record.volume_id is not None:
            there = any(volume.id == record.volume_id for volume in listed)
            return record if there else await self._gone(record)
        named = [volume for volume in listed if volume.name == record.name]
        if len(named) == 1:
            record = _with(record, named[0])
            await journaled.save(self._journal, record)
        elif not named and self._clock() - record.requested_at > _STILL_COMING:
            return await self._gone(record)
        return record

    async def _gone(self, record: VolumeRecord) -> VolumeRecord:
        gone = replace(record, gone_at=self._clock())
        await journaled.save(self._journal, gone)
        return gone

    async def _users(self, volume: Volume) -> tuple[str, ...]:
        rentals = await self._journal.rentals(volume.backend, self._all[volume.backend].service_url)
        mounted = (r for r in rentals if r.open and r.volume == volume.id)
        return tuple(r.session_id or f"of deployment {r.deployment_id}" for r in mounted)


def _with(record: VolumeRecord, volume: Volume) -> VolumeRecord:
    return replace(
        record,
        volume_id=volume.id,
        place=volume.place,
        size_gb=volume.size_gb,
        price_per_hour=volume.price_per_hour,
    )
