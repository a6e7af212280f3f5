"""One model over several machines, by vLLM's own ranks: layers are divided over the machines, and
on each one over its GPUs. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from gdl.domain.errors import DeployError, UsageError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.engines.python import gpu_group
from gdl.engines.python.versions import parse
from gdl.engines.spanning import Rank
from gdl.engines.vllm import capacity, plan
from gdl.engines.vllm.compat import Choice
from gdl.engines.vllm.memory import MEMORY
from gdl.engines.vllm.release_limits import Limits
from gdl.settings import Settings

HEADLESS = "--headless"
_DECIDED = frozenset(
    {"--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size", "--nnodes",
     "--node-rank", "--master-addr", "--master-port", "--distributed-executor-backend", HEADLESS}
)  # fmt: skip
_EAGER = "--enforce-eager"


def check(query: OfferQuery, model: Model, settings: Settings, given: Collection[str]) -> None:
    """Raises UsageError for what cannot be over several machines. given: the user's own flags."""
    if query.nodes <= 1:
        return
    if settings.install.runtime not in ("auto", "venv"):
        raise UsageError(
            "one model over several machines is served from an environment, not from a container",
            "omit --runtime, or say --runtime venv",
        )
    if decided := sorted(_DECIDED.intersection(given)):
        raise UsageError(
            f"{decided[0]} is decided by --nodes {query.nodes}", "omit it, or omit --nodes"
        )
    if _EAGER in given:
        raise UsageError(
            f"with {_EAGER} servers on several machines may crash at their first request",
            "omit it, or omit --nodes",
        )
    layers = model.shape.layers if model.shape is not None else 0
    if layers and layers < query.nodes:
        raise UsageError(
            f"{model.served_name} has {layers} layers: {query.nodes} machines cannot share them",
            f"--nodes {layers} at most",
        )


def even(rank: Rank, model: Model) -> Rank:
    """With as many GPUs on each as all of them have, and the model can be split over."""
    least = min(len(host.gpus) for host in rank.hosts)
    if not least and any(host.gpus for host in rank.hosts):
        without = next(n for n, host in enumerate(rank.hosts) if not host.gpus)
        raise DeployError(
            f"rank {without} has no GPU that can be used, but others do",
            "use machines of the same kind",
        )
    gpus = gpu_group.parallel(MEMORY, least, model)
    return replace(rank, hosts=tuple(replace(h, gpus=h.gpus[:gpus]) for h in rank.hosts))


def choose(rank: Rank, settings: Settings, limits: Limits, *, cpu_allowed: bool) -> Choice:
    """What is installed on it: the same release as on the others, the newest that all can run.
    Raises DeployError."""
    choices = _choices(rank.hosts, settings, limits, cpu_allowed=cpu_allowed)
    versions = sorted({choice.version for choice in choices}, key=parse)
    if len(versions) > 1:
        install = settings.install.model_copy(update={"version": versions[0]})
        settings = settings.model_copy(update={"install": install})
        choices = _choices(rank.hosts, settings, limits, cpu_allowed=cpu_allowed)
    return replace(choices[rank.number], half=any(choice.half for choice in choices))


def _choices(
    hosts: tuple[HostFacts, ...], settings: Settings, limits: Limits, *, cpu_allowed: bool
) -> list[Choice]:
    found = []
    for number, host in enumerate(hosts):
        try:
            found.append(plan.choose(host, settings, cpu_allowed=cpu_allowed, limits=limits))
        except DeployError as error:
            raise DeployError(f"rank {number}: {error.message}", error.hint) from None
    return found


def require(rank: Rank, model: Model, choice: Choice, query: OfferQuery) -> None:
    """Raises DeployError when it cannot hold its part."""
    try:
        capacity.require(rank.hosts[rank.number], model, choice, query)
    except DeployError as error:
        raise DeployError(f"rank {rank.number}: {error.message}", error.hint) from None


def in_environment(settings: Settings) -> Settings:
    """Without a container as the second way: its ports are not those of the machine."""
    install = settings.install.model_copy(update={"runtime": "venv"})
    return settings.model_copy(update={"install": install})


def arguments(rank: Rank, choice: Choice, given: Collection[str]) -> list[str]:
    """What a server on one machine does not have. given: flags that are decided elsewhere."""
    count = str(len(rank.hosts))
    made = ["--pipeline-parallel-size", count, "--nnodes", count]
    made += ["--node-rank", str(rank.number)]
    made += ["--master-addr", rank.master, "--master-port", str(rank.port)]
    if not choice.on_gpu and "--compilation-config" not in given:
        # Neither compiled, which takes minutes, nor eager: without its warm-up the CPU build's
        # second rank has nowhere to receive, and ends at the first request (vLLM 0.32).
        made += ["--compilation-config", '{"mode": 1, "backend": "eager"}']
    return [*made, HEADLESS] if rank.number else made


def environment(rank: Rank) -> dict[str, str]:
    """By which addresses they reach each other: what a library finds out by itself is often
    loopback, or another network's."""
    if not rank.address:
        return {}
    return {
        "VLLM_HOST_IP": rank.address,
        "GLOO_SOCKET_IFNAME": rank.interface,
        "NCCL_SOCKET_IFNAME": rank.interface,
    }


def context(rank: Rank, model: Model, query: OfferQuery) -> int | None:
    """Of the machine that holds the least, as all are told the same; None: the model's own."""
    found = [gpu_group.fitting_context(MEMORY, host, model, query) for host in rank.hosts]
    return min((tokens for tokens in found if tokens is not None), default=None)
