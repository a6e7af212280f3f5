"""The load a server is made for: context, requests at a time, and how its weights are quantized."""

from __future__ import annotations

from gdl.domain.errors import DeployError
from gdl.domain.host import HostFacts
from gdl.domain.offers import OfferQuery
from gdl.engines.base import Step
from gdl.engines.python import package_places, shell
from gdl.engines.python.nvidia import capability_of
from gdl.engines.vllm.compat import Choice
from gdl.engines.vllm.memory.formats import LEAST_TO_QUANTIZE
from gdl.settings import Settings

QUANTIZATIONS = {"fp8": 1.05, "bitsandbytes": 0.55}
"""What vLLM can make of 16-bit weights while it loads them: bytes per parameter, scales and the
layers that stay as they are included."""
MOST_AT_A_TIME = 4096
PACKAGES = {"bitsandbytes": "bitsandbytes>=0.46.1"}
"""What vLLM does not bring itself; its image does."""


def require(query: OfferQuery, host: HostFacts) -> None:
    """Raises DeployError when this machine cannot quantize as asked."""
    name = query.quantization
    if not name:
        return
    if not host.has_gpu:
        raise DeployError(f"{name} needs a GPU", "omit the quantization, or take another")
    (major, minor), has = LEAST_TO_QUANTIZE[name], capability_of(host)
    least = major + minor / 10
    if has is not None and has < least:
        raise DeployError(
            f"{name} needs a GPU of compute capability {least}, this one has {has}",
            "take a newer GPU, or omit the quantization",
        )


def steps(query: OfferQuery, choice: Choice, settings: Settings) -> tuple[Step, ...]:
    """What is to be installed beside vLLM."""
    package = PACKAGES.get(query.quantization)
    if package is None or choice.image:
        return ()
    limits = "-c ./constraints.txt" if choice.constraints else ""
    script = (
        shell.PREAMBLE
        + package_places.exports(settings)
        + shell.pip_install(package, *limits.split())
    )
    there = f"from importlib.metadata import version; version({query.quantization!r})"
    return (
        Step(
            query.quantization,
            f"Install {query.quantization}",
            script,
            settings.timeouts.install,
            shell.python(there) + " 2>/dev/null",
            files=(shell.remote_file("pipconf.py"),),
        ),
    )
