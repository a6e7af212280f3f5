"""Which offer is taken, and what is said about the others."""

from __future__ import annotations

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
    assert reasons(dear, query=query) == {"dear": "over $0.30/h"}
    small = offer("small", 0.1, gpu_name="RTX 4090", vram_gb=12)
    assert reasons(small, query=query) == {"small": "12 of 24 GB VRAM"}


def test_a_floored_listing_still_counts_as_what_it_is() -> None:
    query = OfferQuery(min_vram_gb=80)
    assert suitable(offer("a100", 1.0, vram_gb=79), query=query) == ["a100"]


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
    assert "raise the price ceiling to $0.25/h" in hint and "include provider vastai" in hint


def test_an_offer_that_is_not_listed_is_named() -> None:
    query = OfferQuery(offer_id="vastai-9")
    message, _ = why_none(rank([offer("vastai-1", 0.1)], query), query)
    assert "vastai-9" in message
