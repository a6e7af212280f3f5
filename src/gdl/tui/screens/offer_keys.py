"""The keys of the offers screen."""

from __future__ import annotations

from textual.binding import Binding, BindingType

BINDINGS: list[BindingType] = [
    Binding(
        "m", "model", "Model", id="offers.model",
        tooltip="Choose the model to serve, its context, requests at a time and weights",
    ),
    Binding(
        "enter", "deploy", "Deploy", id="offers.deploy",
        tooltip="Deploy on this offer, or on the marked ones; shows the price first",
    ),
    Binding(
        "slash", "filter", "Filter", id="offers.filter",
        tooltip="Filter as you type: words, or fields such as gpu:4090 price<0.5 !spain",
    ),
    Binding("d", "details", "Details", id="offers.details", tooltip="Everything about this offer"),
    Binding(
        "x", "exclude", "Exclude", id="offers.exclude",
        tooltip="Exclude this offer's provider, or only the marked offers if there are any",
    ),
    Binding(
        "space", "mark", "Mark", id="offers.mark",
        tooltip="Mark this offer; Enter tries the marked ones in turn, x excludes them",
    ),
    Binding(
        "u", "include", "Include", id="offers.bring_back",
        tooltip="Include what is excluded: this row's machine or provider, or the last exclusion",
    ),
    Binding("r", "refresh", "Refresh", id="offers.refresh", tooltip="Get fresh offers"),
    Binding("o", "sort", "Sort", id="offers.sort",
            tooltip="Sort by the next column; or click its header"),
    Binding("w", "watch", "Watch", id="offers.watch",
            tooltip="Wait for an offer by this filter, to be told or to rent it; or end that"),
    Binding("i", "interruptible", "Interruptible", id="offers.interruptible",
            tooltip="Cheaper machines that can be lost to a higher bid; or back to on demand"),
    Binding("O", "reverse", "Reverse the order", show=False, id="offers.reverse",
            tooltip="Sort by the same column in reverse"),
    Binding("escape", "clear", "Clear", show=False, id="offers.clear",
            tooltip="Clear the filter; then clear the marks"),
]  # fmt: skip
