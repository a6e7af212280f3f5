"""Which offer is taken, and what is said about the others."""

from __future__ import annotations

import pytest

from gdl.domain.judging import Exclusions, alike
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.ranking import rank, why_none
from gdl.domain.requirements.estimate import MemoryModel
from gdl.domain.requirements.shape import ModelShape


def offer(ident: str, price: float, **more: object) -> Offer:
    values: dict[str, object] = {
        "backend": "shopper",
        "provider": "vastai",
        "gpu_name": "RTX 3090",
        "gpu_count": 1,
        "vram_gb": 24.0,
    }
    return Offer(id=ident, price_per_hour=price, **{**values, **more})  # type: ignore[arg-type]


def suitable(*offers: Offer, query: OfferQuery | None = None, **more: object) -> list[str]:
    ranked = rank(offers, query or OfferQuery(), **more)  # type: ignore[arg-type]
    return [r.offer.id for r in ranked if r.excluded is None]


def reasons(*offers: Offer, query: OfferQuery | None = None, **more: object) -> dict[str, str]:
    ranked = rank(offers, query or OfferQuery(), **more)  # type: ignore[arg-type]
    return {r.offer.id: r.excluded for r in ranked if r.excluded is not None}


def test_cheapest_first_and_ties_go_to_the_more_reliable() -> None:
    rows = [
        offer("dear", 0.5),
        offer("shaky", 0.2, reliability=0.9),
        offer("firm", 0.2, reliability=0.99),
    ]
    assert suitable(*rows) == ["firm", "shaky", "dear"]


def test_names_that_are_not_told_may_be_any() -> None:
    assert alike("RTX 3090", "rtx-3090") and alike("unknown", "vastai") and alike("vastai", "")
    assert not alike("vastai", "tensordock")


def test_excluded_offers_come_last_with_their_reason() -> None:
    rows = [offer("a", 0.1, provider="tensordock"), offer("b", 0.2)]
    ranked = rank(rows, OfferQuery(exclude_providers=("tensordock",)))
    assert [r.offer.id for r in ranked] == ["b", "a"]
    assert ranked[1].excluded == "provider tensordock excluded"


def test_each_wish_excludes_with_its_own_words() -> None:
    query = OfferQuery(gpu="rtx-4090", max_price=0.3, min_vram_gb=24, gpu_count=1)
    assert reasons(offer("gpu", 0.1), query=query) == {"gpu": "not a rtx-4090"}
    dear = offer("dear", 0.4, gpu_name="RTX 4090")
    assert reasons(dear, query=query) == {"dear": "over $0.300/h"}
    small = offer("small", 0.1, gpu_name="RTX 4090", vram_gb=12)
    assert reasons(small, query=query) == {"small": "12 of 24 GB VRAM"}


def test_a_floored_listing_still_counts_as_what_it_is() -> None:
    query = OfferQuery(min_vram_gb=80)
    assert suitable(offer("a100", 1.0, vram_gb=79), query=query) == ["a100"]


@pytest.mark.parametrize(
    ("name", "listed", "gb"),
    [
        ("RTX 4090", 23, 24),
        ("RTX_4090", 23.99, 24),
        ("RTX 4090", 25.8, 24),
        ("RTX 4090D", 48, 48),
        ("Tesla T4", 15, 16),
        ("L40S", 44, 48),
        ("NVIDIA L4", 22.5, 24),
        ("H100 NVL", 93.6, 94),
        ("H200", 140, 141),
        ("B200", 179, 180),
        ("A100 SXM4", 79, 80),
        ("A100 SXM4", 39.5, 40),
        ("Tesla P40", 22.4, 24),
        ("Unheard Of", 15, 16),
        ("Unheard Of", 47.5, 48),
        ("Unheard Of", 35, 35),
    ],
)
def test_people_know_a_gpu_by_the_size_it_is_sold_with(name: str, listed: float, gb: int) -> None:
    assert offer("x", 0.3, gpu_name=name, vram_gb=listed).nominal_vram_gb == gb


def test_a_floored_listing_is_what_was_asked_for_and_its_real_size_is_counted_with() -> None:
    floored = offer("x", 0.3, gpu_name="RTX 4090", vram_gb=23)
    assert suitable(floored, query=OfferQuery(min_vram_gb=24)) == ["x"]
    # It has 24564 MiB = 25.8 GB, of which a program sees 25.4; an L40S sold with 48 has 47.6.
    assert suitable(floored, needed_vram_gb=25.3) == ["x"]
    assert reasons(floored, needed_vram_gb=25.5) == {"x": "25.4 GB VRAM, the model needs 25.5"}
    l40s = offer("y", 0.6, gpu_name="L40S", vram_gb=44)
    assert suitable(l40s, needed_vram_gb=47.9) == []


def test_the_model_decides_how_much_memory_is_enough() -> None:
    need = MemoryModel(0.9, 1.2, 0.1).needed(
        ModelShape(7.2, layers=32, kv_heads=8, head_size=128, max_context=32768)
    )
    assert 17 < need.vram_gb < 23
    rows = [offer("small", 0.05, vram_gb=12), offer("fits", 0.2)]
    assert suitable(*rows, needed_vram_gb=need.vram_gb) == ["fits"]


def test_several_gpus_count_together() -> None:
    pair = offer("pair", 0.4, gpu_count=2, vram_gb=12)
    assert suitable(pair, needed_vram_gb=20) == ["pair"]


def test_a_machine_without_gpu_suits_only_where_the_cpu_is_allowed() -> None:
    cpu = offer("cpu", 0.0, gpu_count=0, vram_gb=0.0)
    assert suitable(cpu, needed_vram_gb=3, cpu_allowed=True) == ["cpu"]
    assert suitable(cpu, needed_vram_gb=3) == []


def test_failed_offers_providers_and_machines_stay_out() -> None:
    rows = [
        offer("stale", 0.1),
        offer("host", 0.2, machine_id="m7"),
        offer("other", 0.3, provider="tensordock"),
    ]
    left_out = Exclusions({"stale": "stale"}, {"tensordock": "SSH"}, {"m7": "bad driver"})
    assert reasons(*rows, exclusions=left_out) == {
        "stale": "stale",
        "host": "bad driver",
        "other": "SSH",
    }


def test_when_nothing_suits_the_hint_says_what_would_help() -> None:
    query = OfferQuery(max_price=0.1, exclude_providers=("vastai",))
    rows = [offer("dear", 0.25, provider="tensordock"), offer("out", 0.05)]
    message, hint = why_none(rank(rows, query), query)
    assert message == (
        "no suitable offers (2 excluded: 1 from excluded providers, 1 too expensive)"
    )
    assert "raise the price ceiling to $0.250/h" in hint and "include provider vastai" in hint


def test_an_offer_that_is_not_listed_is_named() -> None:
    query = OfferQuery(offer_id="vastai-9")
    message, _ = why_none(rank([offer("vastai-1", 0.1)], query), query)
    assert "vastai-9" in message
