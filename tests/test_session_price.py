"""What a session costs: as worked by hand, in the order of the offers, and in words."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.backends.runpod import catalogue
from gdl.backends.vastai.offer_wire import read_offers
from gdl.domain.engine_image import EngineImage
from gdl.domain.offers import Offer, OfferQuery, OfferTerms
from gdl.domain.ranking import rank
from gdl.domain.session_price import Charged, SessionNeeds
from gdl.domain.session_pricing import SessionPricing
from gdl.domain.track_record import TrackRecord
from gdl.journal.history import PastAttempt
from gdl.orchestrator.leasing.track_record import digest
from gdl.presentation.session_price import explained, learnt, parts

_TABLE = Path(__file__).parent / "data" / "session-prices.tsv"
"""Offers with the figures of the markets' own rows, and what the session costs: worked by hand, in
the last column in words. A dash: not told."""
ROWS = list(csv.DictReader(_TABLE.read_text("utf-8").splitlines(), delimiter="\t"))


def number(text: str) -> float | None:
    return None if text == "-" else float(text)


def listed(row: dict[str, str]) -> Offer:
    """As the market's own rows are read, with the disk that they are listed with."""
    if row["market"] == "runpod":
        kind = {
            "id": "NVIDIA GeForce RTX 3090",
            "name": "RTX 3090",
            "manufacturer": "NVIDIA",
            "memory": 24,
            "community": True,
            "secure": False,
            "price": {"community": float(row["gpu_per_hour"])},
            "maxCount": {"community": 1},
            "availability": "HIGH",
        }
        (offer,) = catalogue.read([kind], "COMMUNITY", 1, ()).offers
        return offer
    if row["market"] == "vastai":
        bid = row["name"].startswith("interruptible")
        told = {
            "id": 1,
            "ask_contract_id": 1,
            "machine_id": 7,
            "host_id": 8,
            "gpu_name": "RTX 3090",
            "num_gpus": 1,
            "gpu_ram": 24576,
            "min_bid" if bid else "dph_base": float(row["gpu_per_hour"]),
            "storage_cost": float(row["storage_per_gb_month"]),
            "inet_down_cost": float(row["down_per_gb"]),
            "inet_down": float(row["down_mbps"]),
            "disk_space": 4000.0,
        }
        page = read_offers({"offers": [told]}, 10, datetime.now(UTC), bid=bid)
        return page.offers[0]
    price = float(row["gpu_per_hour"])
    return Offer(row["name"], "shopper", "tensordock", "RTX 3090", 1, 24, price)


def history(row: dict[str, str]) -> TrackRecord:
    measured, work = number(row["machine_mbps"]), number(row["work_minutes"])
    setup, rent = number(row["setup_minutes"]), number(row["rent_times"])
    traffic = number(row["traffic_times"])
    return TrackRecord(
        setup_hours={} if setup is None else {row["market"]: setup / 60},
        work_hours={} if work is None else {row["market"]: work / 60},
        mbps={} if measured is None else {"7": measured},
        charged={} if rent is None or traffic is None else {"8": Charged(rent, traffic, "host", 3)},
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_session_costs_what_was_worked_by_hand(row: dict[str, str]) -> None:
    needs = SessionNeeds(int(row["disk_gb"]), float(row["download_gb"]))
    (ranked,) = rank(
        [listed(row)],
        OfferQuery(),
        hours=float(row["hours"]),
        needs=needs,
        track_record=history(row),
    )
    whole = ranked.session()
    assert whole is not None and ranked.session_price is not None
    assert f"{ranked.session_price:.2f}" == row["total"] == f"{whole.total:.2f}"
    for part in ("gpu", "disk", "traffic"):
        assert getattr(whole, part) == pytest.approx(float(row[part]), abs=0.0001)
    assert ranked.session_price == pytest.approx(whole.total, abs=1e-9)


def test_twenty_kinds_of_offers_are_worked() -> None:
    assert len(ROWS) >= 20 and len({row["name"] for row in ROWS}) == len(ROWS)


CHEAP_HOUR = Offer(
    "cheap-hour", "market", "market", "RTX 3090", 1, 24, 0.11,
    terms=OfferTerms(0.11, 0.0002, 0.0, 500, 0.03, 0.03, 850),
)  # fmt: skip
FREE_TRAFFIC = replace(
    CHEAP_HOUR, id="free-traffic", price_per_hour=0.20,
    terms=OfferTerms(0.20, 0.0002, 0.0, 500, 0.0, 0.0, 850),
)  # fmt: skip
NEEDS = SessionNeeds(disk_gb=60, download_gb=31.0)


def order(query: OfferQuery, needs: SessionNeeds = NEEDS) -> list[str]:
    return [r.offer.id for r in rank([CHEAP_HOUR, FREE_TRAFFIC], query, needs=needs)]


def test_traffic_decides_which_offer_is_the_cheapest() -> None:
    assert order(OfferQuery()) == ["free-traffic", "cheap-hour"]
    assert order(OfferQuery(order="session")) == ["free-traffic", "cheap-hour"]
    assert order(OfferQuery(order="price")) == ["cheap-hour", "free-traffic"]
    # Without a model nobody knows what is to be downloaded.
    assert order(OfferQuery(), SessionNeeds()) == ["cheap-hour", "free-traffic"]


def test_the_hours_price_has_the_disk_that_the_model_needs() -> None:
    (ranked,) = rank([CHEAP_HOUR], OfferQuery(), needs=NEEDS)
    assert ranked.offer.price_per_hour == pytest.approx(0.11 + 60 * 0.0002)
    too_dear = rank([CHEAP_HOUR], OfferQuery(max_price=0.115), needs=NEEDS)
    assert too_dear[0].exclusion == "price"


def test_a_disk_that_cannot_hold_the_model_is_excluded() -> None:
    small = replace(CHEAP_HOUR, terms=OfferTerms(0.11, 0.0002, 0.0, most_disk_gb=40))
    (ranked,) = rank([small], OfferQuery(), needs=NEEDS)
    assert ranked.excluded == "40 GB of disk at most, 60 needed"


def test_the_price_is_explained() -> None:
    needs = SessionNeeds(disk_gb=70, download_gb=31.0)
    offer = replace(
        CHEAP_HOUR,
        price_per_hour=0.19,
        terms=OfferTerms(0.19, 0.00005, 0.0, 500, 0.02, 0.02, 800),
    )
    (ranked,) = rank([offer], OfferQuery(), needs=needs)
    whole = ranked.session()
    assert whole is not None
    assert list(explained(whole)) == [
        "$0.22 GPU, $0.0040 disk, $0.62 download of 31 GB at $0.02/GB",
        "9 min until the first token (31 GB at 100 MB/s), then 1 h; 70 GB of disk",
    ]
    free = replace(offer, terms=replace(offer.terms or OfferTerms(0), down_per_gb=0.0))
    (ranked,) = rank([free], OfferQuery(), needs=needs)
    whole = ranked.session(2.0)
    assert whole is not None and parts(whole).endswith("free download of 31 GB")
    assert whole.hours == pytest.approx(2 + whole.setup_hours)


def test_what_earlier_sessions_were_charged_is_in_the_price_and_said() -> None:
    known = TrackRecord(charged={"market": Charged(1.2, 1.2, "market", 4)})
    pricing = SessionPricing(1.0, NEEDS, known)
    offer = CHEAP_HOUR.with_disk(60)
    whole = pricing.price(offer)
    assert whole.total == pytest.approx(1.2 * whole.as_listed.total)
    assert learnt(whole) == "20% more than listed, based on what 4 sessions of this market cost"
    assert whole.lasting(whole.hours * 2).rent == pytest.approx(2 * whole.rent)
    assert whole.lasting(whole.hours * 2).traffic == whole.traffic


def test_what_history_says_is_kept_apart_for_images_and_installs() -> None:
    def past(**more: Any) -> PastAttempt:
        return PastAttempt("m", "vastai", "7", "RTX 3090", 1, served=True, **more)

    known = digest(
        [
            past(setup_s=600.0, mbps=800.0, download_gb=30.0),  # 300 s of it for the download
            past(setup_s=900.0, mbps=400.0, download_gb=20.0),  # 400 s
            past(setup_s=420.0, mbps=800.0, download_gb=30.0, image="vllm/vllm-openai:v0.32.0"),
            PastAttempt("m", "vastai", "9", "RTX 3090", 1, failed="ssh", image="vllm:v0.32.0"),
        ],
        "m",
    )
    assert known.setup_hours == {"vastai": pytest.approx(750 / 3600)}
    assert known.work_hours == {"vastai": pytest.approx(400 / 3600)}
    assert known.image_work_hours == {"vastai": pytest.approx(120 / 3600)}
    assert known.image_success == {"vastai": pytest.approx(0.5)}
    assert known.mbps == {"7": pytest.approx(800.0)}


IMAGE = EngineImage("vllm/vllm-openai:v0.32.0", 10.0, 13.0)
WITH_PACKAGES = SessionNeeds(disk_gb=60, download_gb=31.0, packages_gb=8.0)


@pytest.mark.parametrize(
    ("mbps", "traffic", "pulls_free", "by_image"),
    [
        (1600.0, 0.0, False, True),  # a fast line: what is saved is the install
        (100.0, 0.0, False, False),  # a slow one: 2 GB more take longer than that
        (100.0, 0.0, True, True),  # the GPUs are not paid for while the image comes
        (1600.0, 0.03, False, False),  # 2 GB more cost six cents
    ],
)
def test_the_image_or_an_install(
    mbps: float, traffic: float, pulls_free: bool, by_image: bool
) -> None:
    terms = OfferTerms(0.30, 0.0002, 60, 500, traffic, traffic, mbps)
    offer = replace(CHEAP_HOUR, price_per_hour=0.30 + 60 * 0.0002, terms=terms)
    pricing = SessionPricing(
        1.0, WITH_PACKAGES, TrackRecord(), lambda _: IMAGE, pulls_free=pulls_free
    )
    whole = pricing.price(offer)
    assert (whole.image == IMAGE) is by_image
    assert whole.download_gb == (33.0 if by_image else 31.0)
    assert pricing.total(offer) == pytest.approx(whole.total)
    without = SessionPricing(1.0, WITH_PACKAGES, TrackRecord()).price(offer)
    assert whole.total <= without.total


def test_images_that_did_not_serve_are_not_asked_for_again() -> None:
    offer = replace(CHEAP_HOUR, terms=OfferTerms(0.30, 0.0, 60, 500, 0.0, 0.0, 1600.0))
    poor = TrackRecord(image_success={"market": 0.25})
    assert SessionPricing(1.0, WITH_PACKAGES, poor, lambda _: IMAGE).price(offer).image is None
    named = replace(IMAGE, asked_for=True)
    assert SessionPricing(1.0, WITH_PACKAGES, poor, lambda _: named).price(offer).image == named


@given(
    price=st.floats(0.001, 100),
    disk=st.floats(0, 0.01),
    traffic=st.floats(0, 0.5),
    mbps=st.none() | st.floats(0.0001, 1e9),
    hours=st.integers(1, 100),
    pulls_free=st.booleans(),
    image=st.none() | st.just(IMAGE),
)
def test_the_whole_is_its_parts_whatever_is_listed(
    price: float,
    disk: float,
    traffic: float,
    mbps: float | None,
    hours: int,
    pulls_free: bool,
    image: EngineImage | None,
) -> None:
    terms = OfferTerms(price, disk, 0.0, None, traffic, traffic, mbps)
    offer = replace(CHEAP_HOUR, price_per_hour=price, terms=terms).with_disk(60)
    pricing = SessionPricing(
        hours, WITH_PACKAGES, TrackRecord(), lambda _: image, pulls_free=pulls_free
    )
    whole = pricing.price(offer)
    assert whole.total == pytest.approx(pricing.total(offer))
    assert whole.gpu >= price * hours * 0.999 and whole.setup_hours > 0
    assert min(whole.gpu, whole.disk + 1e-9, whole.traffic) >= 0
    assert all(explained(whole))
