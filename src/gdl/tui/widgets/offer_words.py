"""What the offers screen says around its table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from gdl.domain.errors import GdlError
from gdl.domain.models import RankedOffer
from gdl.orchestrator.api import ModelRow
from gdl.tui import format as fmt


def model_line(model: str, need: str) -> Text:
    """The chosen model and what it needs, or how to choose one."""
    text = Text(no_wrap=True, overflow="ellipsis")
    if not model:
        text.append("No model chosen: ", "bold")
        text.append("press m, then Enter on an offer deploys it")
        return text
    text.append("Model ")
    text.append(fmt.plain(model, 60), "bold")
    text.append(f" · {need}")
    return text


def needed(model: str, known: Sequence[ModelRow]) -> str:
    """The VRAM a model needs, in words. `model` is an alias or a hub id."""
    row = next((m for m in known if model in (m.alias, m.location)), None)
    if row is None or row.vram_gb is None:
        return "its size is not known: the fit is not checked"
    return f"needs {fmt.gigabytes(row.vram_gb)} VRAM"


def counts(shown: int, listed: int, seconds: float | None) -> Text:
    """ "12/340 · 42 s old"; `seconds` None while fresh offers are on their way."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{shown}/{listed}", "bold")
    text.append(" · refreshing" if seconds is None else f" · {fmt.age(seconds)}")
    return text


def trouble(error: GdlError, *, some: bool) -> Text:
    """Why there are no fresh offers. `some`: older ones are still shown."""
    text = Text()
    text.append("✗ ", "bold red")
    text.append(fmt.plain(error.message, 300), "bold")
    if error.hint:
        text.append(f"\n  {fmt.plain(error.hint, 300)}")
    if some:
        text.append("\n  The offers above are the last ones that came.", "dim")
    text.append("\n  r asks again · F6 chooses where machines come from")
    return text


def nothing(listed: int) -> Text:
    """Said instead of an empty table."""
    if listed == 0:
        return Text("The backend lists no offers now.\nr asks again")
    return Text(f"None of {fmt.plural(listed, 'offer')} passes the filter.\nEsc clears it")


def left_out(selected: RankedOffer | None, providers: Sequence[str]) -> Text:
    """Why the selected offer is left out, or which providers are; empty when neither."""
    if selected is not None and selected.excluded is not None:
        back = (
            " · u brings it back" if selected.exclusion in ("offer", "machine", "provider") else ""
        )
        return Text(f"– Left out: {fmt.plain(selected.excluded, 200)}{back}", "dim")
    if providers:
        names = ", ".join(fmt.plain(name, 20) for name in providers)
        return Text(f"– Left out: {names} · u brings back", "dim")
    return Text()
