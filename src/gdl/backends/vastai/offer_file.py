"""Lists of offers on disk, so that commands that follow each other do not search anew: searches of
a day are counted."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.offers import Offer, OfferTerms
from gdl.whole_file import write_whole

_PREFIX = "vastai-offers-"
_MOST_BYTES = 32 * 1024 * 1024
_MOST_FILES = 8


@dataclass(frozen=True, slots=True)
class KeptList:
    """fetched_at, fresh_until: by this computer's clock."""

    offers: tuple[Offer, ...]
    fetched_at: datetime
    fresh_until: datetime


class OfferFiles:
    """Files in `folder`, one for each question. whom: the marketplace's address and the key's
    fingerprint; nobody else's lists are read."""

    def __init__(self, folder: Path, whom: str) -> None:
        self._folder = folder
        self._whom = whom

    def read(self, question: object, now: datetime) -> KeptList | None:
        """A list that is fresh; None without one, whatever is wrong with the file."""
        try:
            with self._path(question).open("rb") as file:
                told = json.loads(file.read(_MOST_BYTES))
            fetched = datetime.fromisoformat(told["fetched_at"])
            until = datetime.fromisoformat(told["fresh_until"])
            if not fetched <= now < until or until - fetched > timedelta(hours=1):
                return None
            offers = tuple(_offer(row, fetched) for row in told["offers"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return KeptList(offers, fetched, until)

    def write(self, question: object, kept: KeptList) -> None:
        """As far as the disk takes it."""
        rows = [{**asdict(offer), "fetched_at": None} for offer in kept.offers]
        told = {
            "fetched_at": kept.fetched_at.isoformat(),
            "fresh_until": kept.fresh_until.isoformat(),
            "offers": rows,
        }
        path = self._path(question)
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(told))
            self._tidy()

    def _tidy(self) -> None:
        files = sorted(self._folder.glob(f"{_PREFIX}*.json"), key=lambda p: p.stat().st_mtime)
        for path in files[:-_MOST_FILES]:
            path.unlink(missing_ok=True)

    def _path(self, question: object) -> Path:
        name = hashlib.sha256(f"{self._whom}\n{question!r}".encode()).hexdigest()[:16]
        return self._folder / f"{_PREFIX}{name}.json"


def _offer(row: dict[str, object], fetched_at: datetime) -> Offer:
    """Raises TypeError, ValueError for a row of another version."""
    terms = row.pop("terms", None)
    if not isinstance(terms, dict):
        raise ValueError("no terms")
    row.pop("joined", None)  # the marketplace's machines never are
    made = Offer(**row)  # type: ignore[arg-type]  # our own file, by the same fields
    return replace(made, terms=OfferTerms(**terms), fetched_at=fetched_at)
