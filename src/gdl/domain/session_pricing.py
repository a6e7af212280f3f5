"""The price of a session on each offer of a list, for one model and so many hours."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gdl.domain.engine_image import EngineImage
from gdl.domain.offers import Offer
from gdl.domain.session_price import AS_LISTED, MB_PER_S, Charged, SessionNeeds, SessionPrice
from gdl.domain.track_record import TrackRecord

SETUP_HOURS = 0.1
"""From rent to serving, while neither our own history nor the listing knows better."""
WORK_HOURS = 4 / 60
"""Of it, what is not waiting for a download: the machine's own start, unpacking, the engine's
start. Likewise."""
IMAGE_WORK_HOURS = 2.5 / 60
"""The same where the engine comes in the machine's image: nothing is installed."""
MOST_MBPS = 2000.0
"""However fast a line is said to be: package index and hub send one machine no more."""
MOST_PULL_MBPS = 1000.0
"""Of an image, as its layers are unpacked one after the other."""
USUAL_MBPS = 800.0
"""Where a market that tells its terms does not tell the line."""
LEAST_SUCCESS = 1 / 3
"""Where images came to serve more rarely than that, the engine is installed."""
_LEAST_MBPS = 1.0

ImageOf = Callable[[Offer], EngineImage | None]
"""The image for a machine. None: there is none for it, or its market lets nobody choose."""


class _Way(NamedTuple):
    """One way to the first token. hours: until then; free_hours: of them, what is not billed."""

    hours: float
    free_hours: float
    download_gb: float
    mbps: float | None
    image: EngineImage | None = None


class SessionPricing:
    """Made once for a list, asked for every offer of it. The offers have the disk that the model
    needs (`Offer.with_disk`). hours: asked for, without the set-up. image_of: of the markets where
    one may choose; pulls_free: those do not bill the GPUs while an image is fetched."""

    def __init__(
        self,
        hours: float,
        needs: SessionNeeds,
        known: TrackRecord,
        image_of: ImageOf | None = None,
        *,
        pulls_free: bool = False,
    ) -> None:
        self._hours, self._needs, self._known = hours, needs, known
        self._image_of, self._pulls_free = image_of, pulls_free

    def total(self, offer: Offer) -> float:
        """Dollars. What `price(offer).total` is, in a fraction of the time."""
        way = self._way(offer)
        charged = self.charged(offer) if self._known.charged else AS_LISTED
        return self._rent(offer, way) * charged.rent + _traffic(offer, way) * charged.traffic

    def price(self, offer: Offer, hours: float | None = None) -> SessionPrice:
        """In parts. hours: others than those of the list."""
        way, terms, charged = self._way(offer), offer.terms, self.charged(offer)
        paid = (self._hours if hours is None else hours) + way.hours - way.free_hours
        disk_per_hour = 0.0 if terms is None else terms.disk_gb * terms.disk_per_gb_hour
        return SessionPrice(
            gpu=(offer.price_per_hour - disk_per_hour) * paid * charged.rent,
            disk=disk_per_hour * paid * charged.rent,
            traffic=_traffic(offer, way) * charged.traffic,
            hours=paid,
            setup_hours=way.hours,
            free_hours=way.free_hours,
            disk_gb=0.0 if terms is None else terms.disk_gb,
            disk_per_gb_hour=0.0 if terms is None else terms.disk_per_gb_hour,
            download_gb=0.0 if terms is None else way.download_gb,
            down_per_gb=0.0 if terms is None else terms.down_per_gb,
            mbps=way.mbps,
            listed=terms is not None,
            charged=charged,
            image=way.image,
        )

    def charged(self, offer: Offer) -> Charged:
        """What is learnt of this host, or else of its market."""
        known = self._known.charged
        for key in (offer.host_id, offer.machine_id, offer.provider):
            if key and (found := known.get(key)) is not None:
                return found
        return AS_LISTED

    def _rent(self, offer: Offer, way: _Way) -> float:
        return offer.price_per_hour * (self._hours + way.hours - way.free_hours)

    def _way(self, offer: Offer) -> _Way:
        """An image, or an install: what comes to the first token for less."""
        mbps = self._mbps(offer)
        install = self._installing(offer, mbps)
        image = self._image_of(offer) if self._image_of is not None else None
        if image is None:
            return install
        by_image = self._by_image(offer, image, mbps)
        if image.asked_for:
            return by_image
        if self._known.image_success.get(offer.provider, 0.5) < LEAST_SUCCESS:
            return install
        costs = [self._rent(offer, way) + _traffic(offer, way) for way in (install, by_image)]
        return by_image if costs[1] < costs[0] else install

    def _installing(self, offer: Offer, mbps: float | None) -> _Way:
        known, gb = self._known, self._needs.download_gb
        if not gb or (mbps is None and offer.terms is None):
            return _Way(known.setup_hours.get(offer.provider, SETUP_HOURS), 0.0, gb, None)
        if mbps is None:
            if (whole := known.setup_hours.get(offer.provider)) is not None:
                return _Way(whole, 0.0, gb, None)
            mbps = USUAL_MBPS
        work = known.work_hours.get(offer.provider, WORK_HOURS)
        return _Way(work + _hours(gb, mbps), 0.0, gb, mbps)

    def _by_image(self, offer: Offer, image: EngineImage, mbps: float | None) -> _Way:
        known, model_gb = self._known, self._needs.download_gb - self._needs.packages_gb
        gb = model_gb + image.download_gb
        if mbps is None and (whole := known.image_setup_hours.get(offer.provider)) is not None:
            return _Way(whole, 0.0, gb, None, image)
        mbps = USUAL_MBPS if mbps is None else mbps
        pull = _hours(image.download_gb, min(mbps, MOST_PULL_MBPS))
        work = known.image_work_hours.get(offer.provider, IMAGE_WORK_HOURS)
        hours = work + pull + _hours(model_gb, mbps)
        return _Way(hours, pull if self._pulls_free else 0.0, gb, mbps, image)

    def _mbps(self, offer: Offer) -> float | None:
        """10^6 bit/s: as measured on that machine, else as listed."""
        known, terms = self._known.mbps, offer.terms
        mbps = known.get(offer.machine_id) if offer.machine_id else None
        if mbps is None and terms is not None:
            mbps = terms.down_mbps
        return None if mbps is None else min(max(mbps, _LEAST_MBPS), MOST_MBPS)


def _hours(gb: float, mbps: float) -> float:
    return gb * 1000 * MB_PER_S / mbps / 3600


def _traffic(offer: Offer, way: _Way) -> float:
    return 0.0 if offer.terms is None else way.download_gb * offer.terms.down_per_gb
