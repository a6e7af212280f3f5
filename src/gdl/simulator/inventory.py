"""The list of offers as the service shows it: cached, filtered, sorted, and with a memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import field
from datetime import UTC, datetime

from gdl.domain.lazy_dataclass import dataclass
from gdl.simulator.listings import Listing
from gdl.simulator.timing import Timing
from gdl.simulator.wire_format import Json, Query, Refusal, rfc3339

_CONFIDENCE = 0.994
_AFTER_FAILURE = 0.7
_HIDDEN_FROM = 3


@dataclass(slots=True)
class _Failures:
    """Of one offer. `at`: monotonic seconds."""

    listing: Listing
    at: list[float] = field(default_factory=list)
    when: str = ""
    kind: str = ""
    reason: str = ""
    hidden_until: float = 0.0


@dataclass(frozen=True, slots=True)
class _Fetched:
    at: float
    rows: tuple[tuple[Listing, Json], ...]


class Inventory:
    """is_taken tells whether an offer is rented at this moment."""

    def __init__(
        self,
        listed: Sequence[Listing],
        timing: Timing,
        speed: float,
        is_taken: Callable[[str], bool],
    ) -> None:
        self._cached: dict[tuple[str, str, str], _Fetched] = {}
        self.list_offers(listed)
        self._cache_s = timing.cache / speed
        self._memory_s = timing.memory / speed
        self._is_taken = is_taken
        self._failures: dict[str, _Failures] = {}

    def list_offers(self, listed: Sequence[Listing]) -> None:
        """From now on, and to be fetched at once."""
        self.by_id = {offer.id: offer for offer in listed}
        self.providers = {offer.provider for offer in listed}
        self._cached.clear()

    # -- failures ----------------------------------------------------------------------------------

    def note_failure(self, offer: Listing, kind: str, reason: str) -> None:
        now = time.monotonic()
        failures = self._failures.setdefault(offer.id, _Failures(offer))
        failures.at = [t for t in failures.at if now - t < self._memory_s] + [now]
        failures.when = rfc3339(datetime.now(UTC))
        failures.kind, failures.reason = kind, reason
        if len(failures.at) >= _HIDDEN_FROM:
            failures.hidden_until = now + self._memory_s

    def _recent(self, offer_id: str) -> int:
        failures = self._failures.get(offer_id)
        if failures is None:
            return 0
        now = time.monotonic()
        return sum(now - t < self._memory_s for t in failures.at)

    def _hidden(self, offer_id: str) -> bool:
        failures = self._failures.get(offer_id)
        return failures is not None and time.monotonic() < failures.hidden_until

    def health(self) -> Json:
        """What `/offer-health` tells; `offers` is null when there is nothing to tell."""
        rows: list[Json] = []
        by_type: dict[str, int] = {}
        for ident, failures in self._failures.items():
            recent = self._recent(ident)
            if not recent:
                continue
            offer = failures.listing
            key = f"{offer.provider}:{offer.gpu.name}"
            by_type[key] = by_type.get(key, 0) + 1
            row: Json = {
                "offer_id": ident,
                "provider": offer.provider,
                "gpu_type": offer.gpu.name,
                "recent_failures": recent,
                "is_suppressed": self._hidden(ident),
                "confidence_multiplier": round(_AFTER_FAILURE**recent, 4),
                "last_failure": failures.when,
                "last_failure_type": failures.kind,
                "last_failure_reason": failures.reason,
            }
            if row["is_suppressed"]:
                left = failures.hidden_until - time.monotonic()
                until = datetime.fromtimestamp(time.time() + left, UTC)
                row["suppressed_until"] = rfc3339(until)
            rows.append(row)
        types = [
            {"gpu_type_key": key, "failed_offer_count": count, "is_degraded": count >= 5}
            for key, count in sorted(by_type.items())
        ]
        return {"count": len(rows), "gpu_types": types or None, "offers": rows or None}

    # -- offers ------------------------------------------------------------------------------------

    def show(self, query: Query) -> Json:
        """What `/inventory` answers. Raises Refusal."""
        wish = _Wish(query)
        if wish.provider and wish.provider not in self.providers:
            raise Refusal(400, f"provider not found: {wish.provider}")
        key = (wish.provider, wish.gpu_type, wish.location)
        found = self._cached.get(key)
        if found is None or time.monotonic() - found.at >= self._cache_s:
            # As the real service: what a narrow question did not match is missing from the next
            # answer too, until the list is fetched anew.
            found = _Fetched(time.monotonic(), self._fetch(wish))
            self._cached[key] = found
        if wish.narrows:
            rows = [row for listing, row in found.rows if wish.suits(listing, row)]
        else:
            rows = [row for _, row in found.rows]
        end = None if wish.limit is None else wish.offset + wish.limit
        page = rows[wish.offset : end]
        return {"count": len(page), "offers": page, "total": len(rows)}

    def _fetch(self, wish: _Wish) -> tuple[tuple[Listing, Json], ...]:
        fetched_at = rfc3339(datetime.now(UTC))
        rows = []
        for offer in self.by_id.values():
            if self._hidden(offer.id) or self._is_taken(offer.id):
                continue
            row = self._row(offer, fetched_at)
            if wish.suits(offer, row):
                rows.append((offer, row))
        rows.sort(key=lambda pair: (-pair[1]["availability_confidence"], pair[0].price))
        return tuple(rows)

    def _row(self, offer: Listing, fetched_at: str) -> Json:
        return offer.wire(_CONFIDENCE * _AFTER_FAILURE ** self._recent(offer.id), fetched_at)

    def find(self, ident: str) -> Listing:
        offer = self.by_id.get(ident)
        if offer is None:
            raise Refusal(404, f"offer not found: {ident}")
        return offer

    def one(self, ident: str) -> Json:
        offer = self.find(ident)
        if self._hidden(ident) or self._is_taken(ident):
            raise Refusal(404, f"offer not found: {ident}")
        return self._row(offer, rfc3339(datetime.now(UTC)))


class _Wish:
    """The filters of one request. Raises Refusal for values that cannot be."""

    def __init__(self, query: Query) -> None:
        self.provider = query.text("provider")
        self.gpu_type = query.text("gpu_type")
        self.location = query.text("location")
        self.min_vram = query.whole("min_vram")
        self.max_price = query.number("max_price")
        self.min_count = query.whole("min_gpu_count")
        self.min_reliability = query.number("min_reliability")
        self.min_confidence = query.number("min_availability_confidence")
        self.min_cuda = query.number("min_cuda")
        self.limit = query.whole("limit")
        self.offset = query.whole("offset") or 0
        if self.limit is not None and self.limit <= 0:
            raise Refusal(400, "invalid limit: must be a positive integer")
        if self.offset < 0:
            raise Refusal(400, "invalid offset: must be a non-negative integer")

    @property
    def narrows(self) -> bool:
        """Whether it asks for less than a list holds that was fetched for it."""
        least = (self.min_vram, self.min_count, self.min_reliability, self.min_confidence)
        return any(each is not None for each in (*least, self.min_cuda, self.max_price))

    def suits(self, offer: Listing, row: Json) -> bool:
        least = (
            (self.min_vram, offer.vram_gb),
            (self.min_count, offer.count),
            (self.min_reliability, offer.reliability),
            (self.min_confidence, row["availability_confidence"]),
            (self.min_cuda, offer.cuda),
        )
        return (
            self.provider in ("", offer.provider)
            and self.gpu_type in ("", offer.gpu.name)
            and self.location.casefold() in offer.location.casefold()
            and (self.max_price is None or offer.price <= self.max_price)
            and all(wanted is None or has >= wanted for wanted, has in least)
        )
