"""Which releases of vLLM can serve a model with its load."""

from __future__ import annotations

from gdl.domain.errors import DeployError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.engines.python.versions import parse
from gdl.engines.vllm import server_flags
from gdl.engines.vllm.recipes import recipe_of

NODES = "--nnodes"
"""Its servers of several machines find each other by themselves from where that is known."""
_FIRST_TO_QUANTIZE = {"fp8": "0.20.0", "bitsandbytes": "0.10.2"}
"""fp8: from here on, weights are converted one by one; earlier releases need memory for all of them
in 16 bits first. bitsandbytes: what the package that is installed beside it was made for."""
_LAST_TO_QUANTIZE = {"bitsandbytes": "0.27.1"}
"""Later releases do not have it any more: github.com/vllm-project/vllm/issues/39583."""


@dataclass(frozen=True, slots=True)
class Limits:
    """first, last: releases, both inclusive; "" for no limit. who_first, who_last: what asks for
    that, such as "gpt-oss-20b"."""

    first: str = ""
    last: str = ""
    who_first: str = ""
    who_last: str = ""

    @property
    def any(self) -> bool:
        return not self.first and not self.last

    def allow(self, version: str) -> bool:
        at = parse(version)
        return parse(self.first) <= at and (not self.last or at <= parse(self.last))

    def needed(self, version: str = "") -> str:
        """What is needed, in words: that which this version is not, or all of it."""
        wanted = []
        at = parse(version)
        if self.first and not (at and at >= parse(self.first)):
            wanted.append(f"{self.who_first} needs vLLM {self.first} or newer")
        if self.last and not (at and at <= parse(self.last)):
            wanted.append(f"{self.who_last} needs vLLM {self.last} or older")
        return ", ".join(wanted)

    def explained(self, reason: DeployError | None) -> DeployError:
        """Why no release will do. reason: what speaks against the newest one that would."""
        if reason is None:
            return DeployError(
                f"{self.needed()}, and there is no such release",
                "choose another variant of the model, or another way to quantize it",
            )
        if self.any:
            return reason
        return DeployError(f"{self.needed()}: {reason.message}", reason.hint)


ANY = Limits()


def limits_of(model: Model, query: OfferQuery) -> Limits:
    """By the model's architecture and format, and by how it is to be quantized."""
    recipe, name = recipe_of(model), query.quantization
    first, who_first = recipe.min_vllm, model.served_name
    if parse(_FIRST_TO_QUANTIZE.get(name, "")) > parse(first):
        first, who_first = _FIRST_TO_QUANTIZE[name], name
    several = server_flags.span("flag", NODES)
    if query.nodes > 1 and several is not None and parse(several[0]) > parse(first):
        first, who_first = several[0], "one model over several machines"
    last, who_last = recipe.last_vllm, model.served_name
    if name in _LAST_TO_QUANTIZE and (not last or parse(_LAST_TO_QUANTIZE[name]) < parse(last)):
        last, who_last = _LAST_TO_QUANTIZE[name], name
    return Limits(first, last, who_first if first else "", who_last if last else "")
