"""How many tokens a second a model makes on a machine: measured there, or else predicted, and from
what, and how far that may be off."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from enum import StrEnum
from statistics import median
from typing import NamedTuple

from gdl.domain.money import for_a_million
from gdl.domain.requirements.bandwidth import bandwidth
from gdl.domain.requirements.cards import card_of, sold_as

_READ = 0.81
"""Of a card's bandwidth, what decoding reaches, and"""
_STEP_S = 0.0006
"""seconds of a step beside reading: fitted to Llama 3.1 8B on A100 and H100, one request at a time
(`speeds.toml`)."""
_REQUESTS = 50.0
"""With so many requests at a time a step takes twice as long."""
_SHARED = 0.75
"""Of their bandwidth together, what several cards reach that share a model. Not fitted."""
_ONE_RUN, _ELSEWHERE, _OWN_SCALED, _SCALED, _BANDWIDTH, _ROUGH = 0.1, 0.25, 0.3, 0.4, 0.4, 1.0


class Basis(StrEnum):
    """What a speed is from, surest first."""

    MEASURED = "measured"
    PUBLISHED = "published"
    SCALED = "scaled"
    BANDWIDTH = "bandwidth"


class Machine(NamedTuple):
    """vram_gb: of each GPU as listed, 0 where it is not told."""

    gpu: str
    gpus: int
    vram_gb: float = 0.0

    @property
    def sort(self) -> tuple[str, int, int]:
        """The same for machines that are as fast as each other."""
        name = card_of(self.gpu) or self.gpu.casefold()
        return name, self.gpus, sold_as(self.gpu, self.vram_gb)


class Figure(NamedTuple):
    """tokens_per_s: output tokens of all `concurrency` requests together, as somebody measured
    them. own: on a machine of ours. source: who, in words or as an address."""

    machine: Machine
    concurrency: int
    tokens_per_s: float
    source: str
    own: bool = False


class Served(NamedTuple):
    """A model under a load. weights_gb, active_gb: 10^9 bytes of all its weights, and of those that
    one token takes; None: not known."""

    concurrency: int
    weights_gb: float | None = None
    active_gb: float | None = None


class Speed(NamedTuple):
    """tokens_per_s: output tokens of all requests together. error: it may be off by this share, 1:
    by a factor of two. source: in words."""

    tokens_per_s: float
    error: float
    basis: Basis
    source: str

    def usd_per_million(self, price_per_hour: float) -> float:
        """Dollars for 10^6 output tokens while it is busy all the time."""
        return for_a_million(price_per_hour, self.tokens_per_s)


def active_share(name: str) -> float | None:
    """Of a model's parameters, those that a token takes, where its name tells it, as in
    Qwen3-30B-A3B; None: all, or nobody says."""
    found = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)b-a(\d+(?:\.\d+)?)b(?![\w.])", name.casefold())
    if found is None or not 0 < float(found[2]) < float(found[1]):
        return None
    return float(found[2]) / float(found[1])


def speed(machine: Machine, served: Served, figures: Sequence[Figure]) -> Speed | None:
    """By the surest that there is; None where nothing tells. figures: of that model alone."""
    there = [f for f in figures if f.machine.sort == machine.sort and f.tokens_per_s > 0]
    same = [f for f in there if f.concurrency == served.concurrency]
    if own := [f.tokens_per_s for f in same if f.own]:
        middle = median(own)
        spread = max(abs(each / middle - 1) for each in own)
        runs = "1 run" if len(own) == 1 else f"{len(own)} runs"
        error = max(spread, _ONE_RUN)
        return Speed(middle, error, Basis.MEASURED, f"your own benchmarks, {runs}")
    if same:
        middle = median(f.tokens_per_s for f in same)
        return Speed(middle, _ELSEWHERE, Basis.PUBLISHED, same[0].source)
    return _scaled(machine, served, figures) or _by_bandwidth(machine, served)


def _scaled(machine: Machine, served: Served, figures: Sequence[Figure]) -> Speed | None:
    """From the figure that is nearest: one's own first, on such a machine first."""
    wanted = modelled(machine, served)
    if wanted is None:
        return None

    def far(figure: Figure) -> tuple[bool, bool, float]:
        times = math.log(max(figure.concurrency, 1) / served.concurrency)
        return not figure.own, figure.machine.sort != machine.sort, abs(times)

    for figure in sorted(figures, key=far):
        there = modelled(figure.machine, served._replace(concurrency=max(figure.concurrency, 1)))
        if there is not None and figure.tokens_per_s > 0:
            gpu, count = figure.machine.gpu, figure.machine.gpus
            what = f"{gpu if count == 1 else f'{count} x {gpu}'} at {figure.concurrency} at a time"
            who = "your own benchmarks" if figure.own else figure.source
            error = _OWN_SCALED if figure.own else _SCALED
            rate = figure.tokens_per_s * wanted / there
            return Speed(rate, error, Basis.SCALED, f"{who}: {what}")
    return None


def _by_bandwidth(machine: Machine, served: Served) -> Speed | None:
    rate = modelled(machine, served)
    if rate is None:
        return None
    rough = machine.gpus > 1 or served.active_gb is not None
    error = _ROUGH if rough else _BANDWIDTH
    return Speed(rate, error, Basis.BANDWIDTH, "the memory bandwidth only")


def modelled(machine: Machine, served: Served) -> float | None:
    """Output tokens a second where each step reads all weights once: what decoding is bound by. Of
    a mixture of experts each request reads its own, up to all. None where the card or the model's
    size is not known.

    Off by up to 34 % from the published figures of one GPU in `speeds.toml`."""
    each = bandwidth(machine.gpu, machine.vram_gb)
    weights = served.weights_gb
    if each is None or not weights or machine.gpus < 1:
        return None
    together = each * machine.gpus * (_SHARED if machine.gpus > 1 else 1.0)
    read = min(weights, (served.active_gb or weights) * served.concurrency)
    step = (read / (together * _READ) + _STEP_S) * (1 + served.concurrency / _REQUESTS)
    return served.concurrency / step
