"""The price of a session in words."""

from __future__ import annotations

from collections.abc import Iterator

from gdl.domain.money import dollars
from gdl.domain.session_price import MB_PER_S, SessionPrice
from gdl.presentation.hardware import gigabytes
from gdl.presentation.lines import plain
from gdl.presentation.words import plural


def parts(price: SessionPrice) -> str:
    """ "$0.21 GPU, $0.0042 disk, $0.62 download of 31 GB at $0.02/GB"."""
    told = [f"{dollars(price.gpu)} GPU"]
    if price.disk:
        told.append(f"{dollars(price.disk)} disk")
    if price.traffic:
        per_gb = price.traffic / price.download_gb if price.download_gb else price.down_per_gb
        rounded = f"{per_gb:.4f}".rstrip("0").rstrip(".")
        told.append(
            f"{dollars(price.traffic)} download of {gigabytes(price.download_gb)} at ${rounded}/GB"
        )
    elif price.listed and price.download_gb:
        told.append(f"free download of {gigabytes(price.download_gb)}")
    return ", ".join(told)


def times(price: SessionPrice) -> str:
    """ "9 min until the first token (31 GB at 100 MB/s), then 1 h"."""
    minutes = f"{max(price.setup_hours * 60, 1):.0f} min"
    asked = price.hours - price.setup_hours + price.free_hours
    told = f"{minutes} until the first token"
    if price.mbps is not None and price.download_gb:
        told += f" ({gigabytes(price.download_gb)} at {price.mbps / MB_PER_S:.0f} MB/s)"
    return f"{told}, then {asked:g} h"


def explained(price: SessionPrice) -> Iterator[str]:
    """Lines that say what the whole of it is made of, each a phrase of its own."""
    yield parts(price)
    disk = f"; {gigabytes(price.disk_gb)} of disk" if price.disk_gb else ""
    yield f"{times(price)}{disk}"
    if price.image is not None:
        yield f"the engine is in the image {plain(price.image.name, 200)}"
    if words := learnt(price):
        yield words


def learnt(price: SessionPrice) -> str:
    """What earlier sessions changed of it: "12% more than listed, by what 3 sessions of this host
    cost"; "" where there were none."""
    charged, listed = price.charged, price.as_listed
    if not charged.sessions or listed.total <= 0:
        return ""
    more = price.total / listed.total - 1
    by = f"based on what {plural(charged.sessions, 'session')} of this {charged.whose} cost"
    if abs(more) < 0.005:
        return f"as listed, {by}"
    return f"{abs(more):.0%} {'more' if more > 0 else 'less'} than listed, {by}"
