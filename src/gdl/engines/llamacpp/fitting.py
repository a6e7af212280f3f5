"""Which file, context and slots of a model fit on a machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gdl.domain.errors import DeployError
from gdl.domain.host import HostFacts
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model import Model
from gdl.domain.model_facts import GGUF, RepoFile
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import GpuKind, Load
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.gpus import of_driver
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT
from gdl.engines.llamacpp import memory
from gdl.engines.llamacpp.builds import Build
from gdl.engines.llamacpp.memory import LlamaCppMemory
from gdl.engines.python import gpu_group
from gdl.engines.python.space import GB_PER_GIB
from gdl.settings import Settings

_BESIDE_BYTES = 400_000_000
"""The server itself, and what a machine's own programs take."""
_ENVIRONMENT_GB = {True: 1.6, False: 0.3}
"""On the disk: the build for a GPU, and for the processor."""
_STEP = 1024
_MEMORY = LlamaCppMemory()
_PART = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)", re.IGNORECASE)
_NO_MODELS = ("mmproj", "imatrix")


@dataclass(frozen=True, slots=True)
class File:
    """A GGUF model of a repository: the paths of its parts, in order. () and 0: not known here."""

    paths: tuple[str, ...] = ()
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Fitting:
    """What is served on a machine. context: of each slot, 0: the server finds out what fits.
    layers: as many of all fit on the GPUs, by prediction; 0 without any. settled: nothing is left
    for the server to find out."""

    file: File
    context: int
    slots: int
    layers: int = 0
    of_layers: int = 0
    notes: tuple[str, ...] = ()
    settled: bool = False


def fitting(
    host: HostFacts,
    model: Model,
    build: Build,
    query: OfferQuery,
    settings: Settings,
    arguments: Sequence[str],
) -> Fitting:
    """The file that was named, or the largest one that fits where none was. Raises DeployError
    when disk or memory cannot hold any."""
    asked = query.context or settings.engine.max_model_len or 0
    load = _MEMORY.asked(Load(asked or 0, query.concurrency or CONCURRENCY), arguments)
    chosen = _chosen(model)
    _require_disk(host, model, build, chosen)
    known = gpu_group.architecture(model)
    if known is None:
        return Fitting(chosen, load.context, load.sequences)
    gpus = _gpus(host) if build.on_gpu else ()
    for file in (chosen, *_smaller(model, chosen)):
        sized = replace(known, stored_bytes=file.size_bytes) if file.size_bytes else known
        found = _on_gpus(sized, load, gpus) if gpus else _in_memory(sized, load, host)
        if found is not None:
            notes = found.notes
            if file != chosen:
                told = f"{_named(chosen)} does not fit here, {_named(file)} is served instead"
                notes = (told, *notes)
            return replace(found, file=file, notes=notes, settled=not build.on_gpu)
    split = _split(known, load, gpus, host) if gpus else None
    if split is not None:
        return replace(split, file=chosen)
    raise _too_big(known, load, model, host, gpus)


def _chosen(model: Model) -> File:
    gguf = model.facts.gguf if model.facts is not None else None
    return File(gguf.paths, gguf.size_bytes) if gguf is not None else File()


def _smaller(model: Model, chosen: File) -> Iterator[File]:
    """The other models of the repository, if nobody named one, from the next smaller one down."""
    facts = model.facts
    if facts is None or ":" in model.typed or not chosen.paths:
        return
    parts: dict[str, list[RepoFile]] = {}
    for file in facts.files:
        name = file.path.rpartition("/")[2].lower()
        if name.endswith(GGUF) and not name.startswith(_NO_MODELS):
            parts.setdefault(_PART.sub("", file.path), []).append(file)
    files = [
        File(tuple(sorted(f.path for f in found)), sum(f.size_bytes for f in found))
        for found in parts.values()
    ]
    smaller = [file for file in files if 0 < file.size_bytes < chosen.size_bytes]
    yield from sorted(smaller, key=lambda file: -file.size_bytes)


def _named(file: File) -> str:
    return _PART.sub("", file.paths[0].rpartition("/")[2])


def _on_gpus(model: Architecture, load: Load, gpus: Sequence[GpuKind]) -> Fitting | None:
    """All of it, with as long a context as was asked for, else the longest that fits."""
    wanted = load.context or model.max_context or CONTEXT
    lengths = [wanted] if load.context else range(wanted // _STEP * _STEP or wanted, 0, -_STEP)
    shortest = min(CONTEXT, wanted)
    for context in lengths:
        if context < shortest:
            break
        layers, count = memory.layers_that_fit(model, replace(load, context=context), gpus)
        if layers >= count:
            return Fitting(File(), context, load.sequences, layers, count)
    return None


def _split(
    model: Architecture, load: Load, gpus: Sequence[GpuKind], host: HostFacts
) -> Fitting | None:
    """As many layers on the GPUs as fit, the others for the processor."""
    context = load.context or min(model.max_context or CONTEXT, CONTEXT)
    load = replace(load, context=context)
    layers, count = memory.layers_that_fit(model, load, gpus)
    if _bytes(model, load) * (count - layers) / count > host.ram_gib * 2**30:
        return None
    note = f"{layers} of {count} layers fit on the GPU; the processor computes the others, slowly"
    return Fitting(File(), context, load.sequences, layers, count, (note,))


def _in_memory(model: Architecture, load: Load, host: HostFacts) -> Fitting | None:
    context = load.context or min(model.max_context or CONTEXT, CONTEXT)
    needed = _bytes(model, replace(load, context=context))
    if host.ram_gib and needed > host.ram_gib * 2**30:
        return None
    return Fitting(File(), context, load.sequences)


def _bytes(model: Architecture, load: Load) -> int:
    cache = memory.sequence_bytes(model, load.context, load.kv_dtype) * load.sequences
    return memory.weights_bytes(model) + cache + memory.compute_bytes(model) + _BESIDE_BYTES


def _too_big(
    known: Architecture, load: Load, model: Model, host: HostFacts, gpus: Sequence[GpuKind]
) -> DeployError:
    load = replace(load, context=load.context or min(known.max_context or CONTEXT, CONTEXT))
    has = host.ram_gib * GB_PER_GIB
    kind = "memory"
    if gpus:
        has += sum(gpu.memory_gib for gpu in gpus) * GB_PER_GIB
        kind = "memory, the GPU's included"
    needs = _bytes(known, load) / 1e9
    file = f" ({model.file})" if model.file else ""
    return DeployError(
        f"not enough {kind}: {has:.1f} GB, {model.served_name}{file} needs about {needs:.1f} GB",
        "take a bigger machine, a smaller file (:Q3_K_M), a shorter --context or fewer requests"
        " at a time (--concurrency)",
    )


def _require_disk(host: HostFacts, model: Model, build: Build, file: File) -> None:
    size = file.size_bytes or (model.shape.files_gb * 1e9 if model.shape is not None else 0)
    weights = 0.0
    if model.source != "path":
        weights = max(1.02 * size / 1e9 - host.model_gib * GB_PER_GIB, 0.0)
    on_disk = 0.0 if host.engine.installed else _ENVIRONMENT_GB[build.on_gpu]
    if host.volume_free_gib is None:
        on_disk += weights
    elif host.volume_free_gib * GB_PER_GIB < weights:
        raise DeployError(
            f"{host.volume_free_gib * GB_PER_GIB:.0f} of {weights:.0f} GB free on the volume",
            "make a bigger one, or do without --volume",
        )
    free = host.disk_free_gib * GB_PER_GIB
    if free < on_disk:
        raise DeployError(
            f"{free:.1f} of {on_disk:.1f} GB disk free",
            "take a machine with a bigger disk, a smaller file, or free some space",
        )


def _gpus(host: HostFacts) -> tuple[GpuKind, ...]:
    return tuple(of_driver(gpu.name, gpu.memory_mib) for gpu in host.gpus)
