"""The price of a session on each offer of a list, for one model and so many hours."""

from __future__ import annotations

from gdl.domain.offers import Offer
from gdl.domain.session_price import AS_LISTED, MB_PER_S, Charged, SessionNeeds, SessionPrice
from gdl.domain.track_record import TrackRecord

SETUP_HOURS = 0.1
"""From rent to serving, while neither our own history nor the listing knows better."""
WORK_HOURS = 4 / 60
"""Of it, what is not waiting for a download: the machine's own start, unpacking, the engine's
start. Likewise."""
MOST_MBPS = 2000.0
"""However fast a line is said to be: package index and hub send one machine no more."""
USUAL_MBPS = 800.0
"""Where a market that tells its terms does not tell the line."""
_LEAST_MBPS = 1.0


class SessionPricing:
    """Made once for a list, asked for every offer of it. The offers have the disk that the model
    needs (`Offer.with_disk`). hours: asked for, without the set-up."""

    def __init__(self, hours: float, needs: SessionNeeds, known: TrackRecord) -> None:
        self._hours, self._needs, self._known = hours, needs, known
        self._seconds_at_1_mbps = needs.download_gb * 1000 * MB_PER_S

    def total(self, offer: Offer) -> float:
        """Dollars. What `price(offer).total` is, in a fraction of the time."""
        setup, _ = self._setup(offer)
        hours, terms = self._hours + setup, offer.terms
        charged = self.charged(offer) if self._known.charged else AS_LISTED
        rent = offer.price_per_hour * hours * charged.rent
        if terms is None:
            return rent
        return rent + self._needs.download_gb * terms.down_per_gb * charged.traffic

    def price(self, offer: Offer, hours: float | None = None) -> SessionPrice:
        """In parts. hours: others than those of the list."""
        setup, mbps = self._setup(offer)
        paid = (self._hours if hours is None else hours) + setup
        terms, charged = offer.terms, self.charged(offer)
        if terms is None:
            gpu = offer.price_per_hour * paid * charged.rent
            return SessionPrice(gpu, 0.0, 0.0, paid, setup, mbps=mbps, charged=charged)
        disk_per_hour = terms.disk_gb * terms.disk_per_gb_hour
        gb = self._needs.download_gb
        return SessionPrice(
            gpu=(offer.price_per_hour - disk_per_hour) * paid * charged.rent,
            disk=disk_per_hour * paid * charged.rent,
            traffic=gb * terms.down_per_gb * charged.traffic,
            hours=paid,
            setup_hours=setup,
            disk_gb=terms.disk_gb,
            disk_per_gb_hour=terms.disk_per_gb_hour,
            download_gb=gb,
            down_per_gb=terms.down_per_gb,
            mbps=mbps,
            listed=True,
            charged=charged,
        )

    def charged(self, offer: Offer) -> Charged:
        """What is learnt of this host, or else of its market."""
        known = self._known.charged
        for key in (offer.host_id, offer.machine_id, offer.provider):
            if key and (found := known.get(key)) is not None:
                return found
        return AS_LISTED

    def _setup(self, offer: Offer) -> tuple[float, float | None]:
        """(hours until the first token, 10^6 bit/s where a download is part of it)."""
        known, terms = self._known, offer.terms
        mbps = known.mbps.get(offer.machine_id) if offer.machine_id else None
        if mbps is None and terms is not None:
            mbps = terms.down_mbps
        if not self._seconds_at_1_mbps or (mbps is None and terms is None):
            return known.setup_hours.get(offer.provider, SETUP_HOURS), None
        if mbps is None:
            if (whole := known.setup_hours.get(offer.provider)) is not None:
                return whole, None
            mbps = USUAL_MBPS
        mbps = min(max(mbps, _LEAST_MBPS), MOST_MBPS)
        work = known.work_hours.get(offer.provider, WORK_HOURS)
        return work + self._seconds_at_1_mbps / mbps / 3600, mbps
