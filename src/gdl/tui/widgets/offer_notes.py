"""What the offers screen says around its table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from gdl.domain.errors import GdlError
from gdl.domain.money import hourly
from gdl.domain.offers import OfferQuery, RankedOffer
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT
from gdl.orchestrator.api.model_views import SizedModel
from gdl.presentation.durations import age
from gdl.presentation.hardware import gigabytes
from gdl.presentation.lines import plain
from gdl.presentation.words import plural


def model_line(wanted: OfferQuery, need: str) -> Text:
    """The chosen model and what it needs, or how to choose one. What interruptible machines are is
    said before: they are not to be taken for others."""
    text = Text(no_wrap=True, overflow="ellipsis")
    if wanted.interruptible:
        bid = "" if wanted.bid is None else f", bid up to {hourly(wanted.bid)}"
        text.append(f"Interruptible{bid} (i: on demand) · ", "bold yellow")
    if not (model := wanted.model):
        text.append("No model chosen: ", "bold")
        text.append("m to choose one, then Enter on an offer to deploy it")
        return text
    text.append("Model ")
    text.append(plain(model, 60), "bold")
    text.append(f" · {need}")
    return text


def needed(sized: SizedModel | None, asked: OfferQuery) -> str:
    """What the chosen model needs for what it is to serve: "needs 21 GB VRAM for 8 requests of
    8,192 tokens, fp8"."""
    if sized is None or sized.need is None:
        return "its size is not known, so the fit is not checked"
    told = f"needs {gigabytes(sized.need.vram_gb)} VRAM for {_load(sized, asked)}"
    return f"{told}, {asked.quantization}" if asked.quantization else told


def _load(sized: SizedModel, asked: OfferQuery) -> str:
    context = asked.context or CONTEXT
    if sized.longest:
        context = min(context, sized.longest)
    return f"{plural(asked.concurrency or CONCURRENCY, 'request')} of {context:,} tokens"


def sizing(sized: SizedModel, asked: OfferQuery) -> Text:
    """What fills the memory of the GPUs, where no more is known than a size."""
    need = sized.need
    if need is None:
        return Text("Its size is not known: the fit is not checked.\n")
    text = Text("Guessed from its size: ")
    text.append(f"{need.vram_gb:.1f} GB VRAM", "bold")
    text.append(f" (weights {need.weights_gb:.1f}, KV cache {need.kv_cache_gb:.1f}, ")
    text.append(f"overhead {need.overhead_gb:.1f})")
    return text.append_text(load_note(sized, asked))


def without_gpu(machine: str, sized: SizedModel, asked: OfferQuery) -> Text:
    """The same for a machine that has only its CPU and their memory."""
    text = Text("Not calculated for a machine without a GPU: ")
    text.append(plain(machine, 60), "bold")
    if sized.need is not None:
        text.append(f"; the weights take {sized.need.weights_gb:.1f} GB of its memory")
    return text.append_text(load_note(sized, asked))


def load_note(sized: SizedModel, asked: OfferQuery) -> Text:
    """A line: what it was counted for."""
    disk = f"; {sized.need.disk_gb} GB disk" if sized.need is not None else ""
    text = Text(f"\n{_load(sized, asked)}{disk}", "dim")
    if sized.longest:
        text.append(f"; takes at most {sized.longest:,} tokens")
    return text


def too_much(error: GdlError) -> Text:
    """Why a model or a load cannot be, in the place of its sizes."""
    text = Text()
    text.append("✗ ", "bold red")
    text.append(plain(error.message, 140), "bold")
    text.append(f"\n  {plain(error.hint, 140)}")
    return text


def counts(shown: int, listed: int, marked: int, seconds: float | None) -> Text:
    """ "12/340 · 2 marked · 42 s old"; `seconds` None while fresh offers are on their way."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{shown}/{listed}", "bold")
    if marked:
        text.append(f" · {marked} marked", "bold")
    text.append(" · refreshing" if seconds is None else f" · {age(seconds)}")
    return text


def trouble(error: GdlError, *, some: bool) -> Text:
    """Why there are no fresh offers. `some`: older ones are still shown."""
    text = Text()
    text.append("✗ ", "bold red")
    text.append(plain(error.message, 300), "bold")
    if error.hint:
        text.append(f"\n  {plain(error.hint, 300)}")
    if some:
        text.append("\n  The offers above are from the last list received.", "dim")
    text.append("\n  r refreshes · F6 to choose where machines come from")
    return text


def nothing(listed: int, watch_keys: str) -> Text:
    """Said instead of an empty table. watch_keys: what begins a watch, "" while one goes on."""
    if listed == 0:
        return Text("The backend lists no offers now.\nr refreshes")
    none = f"None of {plural(listed, 'offer')} matches the filter."
    waits = f" · {watch_keys} waits for one that does" if watch_keys else ""
    return Text(f"{none}\nEsc clears it{waits}")


def excluded(selected: RankedOffer | None, providers: Sequence[str]) -> Text:
    """Why the selected offer is excluded, or which providers are; empty when neither."""
    if selected is not None and selected.excluded is not None:
        back = " · u includes it" if selected.exclusion in ("offer", "machine", "provider") else ""
        return Text(f"– Excluded: {plain(selected.excluded, 200)}{back}", "dim")
    if providers:
        names = ", ".join(plain(name, 20) for name in providers)
        return Text(f"– Excluded: {names} · u includes again", "dim")
    return Text()
