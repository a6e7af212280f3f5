"""What `doctor` says of Vast.ai."""

from __future__ import annotations

from collections.abc import Sequence

from gdl.backends.vastai.api_client import VastHttp
from gdl.backends.vastai.billing import Billing
from gdl.backends.vastai.search import OfferSearch
from gdl.domain.errors import GdlError
from gdl.domain.findings import Finding
from gdl.domain.money import hourly
from gdl.domain.text import one_line


async def findings(http: VastHttp, billing: Billing, search: OfferSearch) -> Sequence[Finding]:
    """The key and its account, this computer's clock, and one search."""
    try:
        account = await billing.account()
    except GdlError as error:
        return [Finding("vastai", "fail", f"{error.message} ({http.found_key.source})", error.hint)]
    who = "an account" if account.id is None else f"account {account.id}"
    detail = f"{http.shown_url} knows {who} by the key from {http.found_key.source}"
    key = Finding("vastai", "ok", one_line(detail))
    return [key, *http.clock.findings(), await _searched(search)]


async def _searched(search: OfferSearch) -> Finding:
    try:
        page = await search.sample()
    except GdlError as error:
        return Finding("offers", "fail", error.message, error.hint)
    if page.offers:
        cheapest = min(offer.price_per_hour for offer in page.offers)
        return Finding("offers", "ok", f"there are offers, from {hourly(cheapest)}")
    return Finding("offers", "warn", "Vast.ai lists no offers", "try again later")
