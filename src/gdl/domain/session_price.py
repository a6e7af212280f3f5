"""What a session costs from the rent request to its end, in parts that can be told.

    hours   = those asked for + those until the first token
    gpu     = dollars an hour without any disk x hours
    disk    = dollars for a GB and hour x GB that the model needs x hours
    traffic = dollars for a GB x GB of model and packages
    until the first token = GB x 8000 / (Mbit/s x 3600) + what else a set-up takes

Answers are text: what is sent from the machine is too little to count.
"""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.engine_image import EngineImage
from gdl.domain.lazy_dataclass import dataclass

MB_PER_S = 8.0
"""10^6 bit/s that make 10^6 bytes a second."""


@dataclass(frozen=True, slots=True)
class SessionNeeds:
    """What a machine of nobody's has to have and to fetch for a model, in GB (10^9). disk_gb: 0
    where that is not known. download_gb: of the model's files, and of the engine's packages;
    packages_gb: of these alone, which no image that has the engine needs."""

    disk_gb: int = 0
    download_gb: float = 0.0
    packages_gb: float = 0.0


NOTHING_KNOWN = SessionNeeds()


@dataclass(frozen=True, slots=True)
class Charged:
    """What earlier sessions were charged, as a multiple of what was expected for the time they
    took. rent: of GPU and disk; traffic: likewise. whose: "host" or "market"; "" where there were
    none. sessions: how many."""

    rent: float = 1.0
    traffic: float = 1.0
    whose: str = ""
    sessions: int = 0


AS_LISTED = Charged()


@dataclass(frozen=True, slots=True)
class SessionPrice:
    """A session's price in dollars. hours: that are paid for, setup_hours of them until the first
    token; free_hours: of the set-up, what is not paid for. mbps: 10^6 bit/s that the download is
    expected to come at, None where that is not known. listed: whether the market tells of disk and
    traffic; without it they are not in the price. charged: is in the price already. image: the
    container image that the engine is to come in, None where it is installed.
    """

    gpu: float
    disk: float
    traffic: float
    hours: float
    setup_hours: float
    disk_gb: float = 0.0
    disk_per_gb_hour: float = 0.0
    download_gb: float = 0.0
    down_per_gb: float = 0.0
    mbps: float | None = None
    listed: bool = False
    charged: Charged = AS_LISTED
    free_hours: float = 0.0
    image: EngineImage | None = None

    @property
    def total(self) -> float:
        return self.gpu + self.disk + self.traffic

    @property
    def itemized(self) -> bool:
        """Whether there is more to tell of it than an hour's price times the hours."""
        return self.listed or bool(self.charged.sessions)

    @property
    def rent(self) -> float:
        """What grows by the hour."""
        return self.gpu + self.disk

    def lasting(self, hours: float) -> SessionPrice:
        """The same session had it lasted so many hours: all was downloaded that was to be."""
        share = hours / self.hours if self.hours > 0 else 0.0
        return replace(self, gpu=self.gpu * share, disk=self.disk * share, hours=hours)

    @property
    def as_listed(self) -> SessionPrice:
        """Without what was learnt from earlier sessions."""
        rent, traffic = self.charged.rent, self.charged.traffic
        return replace(
            self,
            gpu=self.gpu / rent if rent else self.gpu,
            disk=self.disk / rent if rent else self.disk,
            traffic=self.traffic / traffic if traffic else self.traffic,
            charged=AS_LISTED,
        )
