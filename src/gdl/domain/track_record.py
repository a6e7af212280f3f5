"""What our own history says of machines and those who rent them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.session_price import Charged


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """setup_hours: from rent to serving, by provider. success: share of attempts that came to
    serve (0-1), by machine id and by provider. tokens_per_s: output tokens a second of the model
    asked for, by GPU name and count.

    work_hours: of the set-up, what was not waiting for a download; by provider. image_...: the same
    where the engine came in the machine's image, which the others do not count. mbps: 10^6 bit/s
    that a machine was measured to download at, by machine id. charged: what earlier sessions were
    charged, by host or machine id and by provider.
    """

    setup_hours: Mapping[str, float] = field(default_factory=dict)
    success: Mapping[str, float] = field(default_factory=dict)
    tokens_per_s: Mapping[tuple[str, int], float] = field(default_factory=dict)
    work_hours: Mapping[str, float] = field(default_factory=dict)
    image_setup_hours: Mapping[str, float] = field(default_factory=dict)
    image_work_hours: Mapping[str, float] = field(default_factory=dict)
    image_success: Mapping[str, float] = field(default_factory=dict)
    mbps: Mapping[str, float] = field(default_factory=dict)
    charged: Mapping[str, Charged] = field(default_factory=dict)
