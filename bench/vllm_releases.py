"""What each vLLM release knows, read from its wheel: model architectures, parsers, modes, flags.

    python bench/vllm_releases.py [VERSION ...] [--wheels FOLDER] [--keep]

Downloads the wheels of these releases (without dependencies, 170 to 500 MB each) with pip, reads
their source with Python's own parser (nothing of them is imported or run) and writes the answers
into tests/data/vllm-releases.json beside those of the releases that are there already. A wheel is
deleted when it has been read, unless --keep says otherwise.

In that file each name stands with the spans of releases that know it: [first, last], with null for
the last where the newest release read still does. `max_model_len_auto`: releases whose
--max-model-len takes `auto`.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import compress
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent.parent / "tests" / "data" / "vllm-releases.json"
KINDS = (
    "architectures",
    "tool_parsers",
    "reasoning_parsers",
    "tokenizer_modes",
    "config_formats",
    "load_formats",
    "kv_cache_dtypes",
    "quantizations",
    "chat_templates",
    "flags",
    "max_model_len_auto",
)
CALLS = ("register_module", "register_lazy_module")
ENGINE_FLAGS = "vllm/engine/arg_utils.py"
SERVER_FLAGS = (
    "vllm/entrypoints/openai/cli_args.py",  # to 0.28
    "vllm/entrypoints/launchers/cli_args.py",
    "vllm/entrypoints/common/cli_args.py",  # from 0.33
)


class Wheel:
    """The Python source in a wheel, or in a folder where one was unpacked."""

    def __init__(self, path: Path) -> None:
        self._zip = None if path.is_dir() else zipfile.ZipFile(path)
        self._folder = path
        if self._zip is not None:
            self.names = self._zip.namelist()
        else:
            found = (p for p in path.rglob("*") if p.suffix in (".py", ".jinja"))
            self.names = [p.relative_to(path).as_posix() for p in found]

    def tree(self, name: str) -> ast.Module:
        """The file's syntax tree; an empty one if there is no such file."""
        if name not in self.names:
            return ast.Module([], [])
        if self._zip is not None:
            return ast.parse(self._zip.read(name))
        return ast.parse((self._folder / name).read_bytes())

    def under(self, *folders: str) -> list[str]:
        """The Python files of these folders."""
        return [n for n in self.names if n.endswith(".py") and n.startswith(folders)]


def assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of each assignment at the top of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def strings(node: ast.AST) -> set[str]:
    """All string constants in an expression."""
    values = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
    return {value for value in values if isinstance(value, str) and value}


def keys(node: ast.expr) -> set[str]:
    """A dictionary's string keys."""
    found = node.keys if isinstance(node, ast.Dict) else []
    return {k.value for k in found if isinstance(k, ast.Constant) and isinstance(k.value, str)}


def architectures(wheel: Wheel) -> set[str]:
    """The names in config.json's `architectures` that the registry of models maps."""
    found: set[str] = set()
    # In the package itself before 0.6.2.
    for file in ("registry.py", "__init__.py"):
        for name, value in assigned(wheel.tree(f"vllm/model_executor/models/{file}")):
            if name.endswith("_MODELS") and isinstance(value, ast.Dict):
                # (module, class); those that are gone or in other packages stand with a sentence.
                ours = [isinstance(each, ast.Tuple) for each in value.values]
                found |= keys(ast.Dict(list(compress(value.keys, ours)), []))
    return found


def parsers(wheel: Wheel, manager: str, *folders: str) -> set[str]:
    """Names registered with `manager`: in a table (from 0.11.1) or by decorators (before)."""
    found: set[str] = set()
    for file in wheel.under(*folders):
        tree = wheel.tree(file)
        for name, value in assigned(tree):
            if name.endswith("_PARSERS_TO_REGISTER"):
                found |= keys(value)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == manager and node.func.attr in CALLS:
                named = [k.value for k in node.keywords if k.arg == "name"]
                for given in (*node.args[:1], *named):
                    found |= strings(given)
    return found


def choices(wheel: Wheel, files: Iterable[str], *names: str) -> set[str]:
    """The values of a Literal, of an enumeration or of a table's keys with one of these names."""
    found: set[str] = set()
    for file in files:
        tree = wheel.tree(file)
        for name, value in assigned(tree):
            if name in names:
                found |= keys(value) or strings(value)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name in names:
                for line in node.body:
                    if isinstance(line, ast.Assign):
                        found |= strings(line.value)
    return found


def argument_choices(wheel: Wheel, files: Iterable[str], flag: str) -> set[str]:
    """What add_argument("--flag", choices=[...]) allows."""
    for file in files:
        for call in added(wheel.tree(file)):
            if any(isinstance(a, ast.Constant) and a.value == flag for a in call.args):
                for keyword in call.keywords:
                    if keyword.arg == "choices" and isinstance(keyword.value, ast.List):
                        return strings(keyword.value)
    return set()


def added(tree: ast.AST) -> Iterator[ast.Call]:
    """Each call of add_argument."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "add_argument"
        ):
            yield node


def flags(wheel: Wheel) -> set[str]:
    """The server's options. A boolean one's `--no-` form (from 0.9) is not among them."""
    found: set[str] = set()
    for file in (ENGINE_FLAGS, *SERVER_FLAGS):
        tree = wheel.tree(file)
        for call in added(tree):
            found |= {s for a in call.args for s in strings(a) if s.startswith("--") and s != "--"}
        for node in ast.walk(tree):
            # Its fields are options without being named: get_kwargs(FrontendArgs).
            if isinstance(node, ast.ClassDef) and node.name in ("FrontendArgs", "BaseFrontendArgs"):
                found |= {
                    "--" + line.target.id.replace("_", "-")
                    for line in node.body
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
                }
    return {flag.replace("_", "-") for flag in found}


def max_model_len_auto(wheel: Wheel) -> set[str]:
    tree = wheel.tree(ENGINE_FLAGS)
    named = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return {"auto"} & {n.rsplit("_", 1)[-1] for n in named if n.startswith("human_readable_int_or")}


CONFIG = ("vllm/config.py", "vllm/config/__init__.py")
READERS: dict[str, Callable[[Wheel], set[str]]] = {
    "architectures": architectures,
    "tool_parsers": lambda w: (
        parsers(
            w, "ToolParserManager", "vllm/tool_parsers/", "vllm/entrypoints/openai/tool_parsers/"
        )
        | argument_choices(w, SERVER_FLAGS, "--tool-call-parser")
    ),
    "reasoning_parsers": lambda w: parsers(
        w,
        "ReasoningParserManager",
        "vllm/reasoning/",
        "vllm/entrypoints/openai/reasoning_parsers/",
    ),
    "tokenizer_modes": lambda w: (
        choices(w, (*CONFIG, "vllm/config/model.py"), "TokenizerMode")
        | choices(w, ["vllm/tokenizers/registry.py"], "_VLLM_TOKENIZERS")
        | argument_choices(w, [ENGINE_FLAGS], "--tokenizer-mode")
    ),
    "config_formats": lambda w: choices(
        w,
        (*CONFIG, "vllm/config/model.py", "vllm/transformers_utils/config.py"),
        "ConfigFormat",
    ),
    "load_formats": lambda w: choices(
        w,
        (
            *CONFIG,
            "vllm/config/load.py",
            "vllm/model_executor/model_loader/__init__.py",
        ),
        "LoadFormat",
        "LoadFormats",
        "_LOAD_FORMAT_TO_MODEL_LOADER",
    ),
    "kv_cache_dtypes": lambda w: (
        choices(w, (*CONFIG, "vllm/config/cache.py"), "CacheDType")
        | argument_choices(w, [ENGINE_FLAGS], "--kv-cache-dtype")
    ),
    "quantizations": lambda w: choices(
        w,
        ["vllm/model_executor/layers/quantization/__init__.py"],
        "QuantizationMethods",
        "QUANTIZATION_METHODS",
    ),
    "chat_templates": lambda w: {
        Path(n).name for n in w.names if "/chat_templates/" in n and n.endswith(".jinja")
    },
    "flags": flags,
    "max_model_len_auto": max_model_len_auto,
}


def known(path: Path) -> dict[str, list[str]]:
    """What the release in this wheel (or unpacked wheel) knows, sorted, by kind."""
    wheel = Wheel(path)
    return {kind: sorted(READERS[kind](wheel)) for kind in KINDS}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def spans(releases: list[str], holds: set[str]) -> list[list[str | None]]:
    """The unbroken runs of `holds` among all releases, oldest first."""
    found: list[list[str | None]] = []
    for before, version in zip([None, *releases], releases, strict=False):
        if version not in holds:
            continue
        if found and found[-1][1] == before:
            found[-1][1] = version
        else:
            found.append([version, version])
    if found and found[-1][1] == releases[-1]:
        found[-1][1] = None
    return found


def within(releases: list[str], ranges: list[list[str | None]]) -> set[str]:
    """The releases in these spans: the inverse of spans()."""
    return {
        version
        for first, last in ranges
        for version in releases
        if numbers(str(first)) <= numbers(version) <= numbers(last or releases[-1])
    }


def merged(old: dict[str, Any], new: dict[str, dict[str, list[str]]]) -> dict[str, Any]:
    """The data with these releases in it."""
    before: list[str] = old.get("releases", [])
    releases = sorted({*before, *new}, key=numbers)
    result: dict[str, Any] = {
        "made_by": "bench/vllm_releases.py, from the wheels on PyPI",
        "made_on": datetime.now(UTC).date().isoformat(),
        "releases": releases,
    }
    for kind in KINDS:
        holders: dict[str, set[str]] = {
            name: within(before, ranges) - set(new) for name, ranges in old.get(kind, {}).items()
        }
        for version, facts in new.items():
            for name in facts[kind]:
                holders.setdefault(name, set()).add(version)
        result[kind] = {n: spans(releases, holders[n]) for n in sorted(holders) if holders[n]}
    return result


def download(version: str, folder: Path) -> Path:
    """The release's wheel for Linux on x86-64."""
    there = list(folder.glob(f"vllm-{version}-*.whl"))
    if not there:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        pip += ["--only-binary", ":all:", "--dest", str(folder), f"vllm=={version}"]
        subprocess.run(pip, check=True, timeout=900)
        there = list(folder.glob(f"vllm-{version}-*.whl"))
    return there[0]


def written(data: dict[str, Any]) -> str:
    """As JSON with a line for each name, so that a release's news can be seen in a diff."""
    lines = []
    for key, value in data.items():
        if key in KINDS:
            inner = ",\n".join(f"  {json.dumps(n)}: {json.dumps(s)}" for n, s in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("versions", nargs="*", help="releases to read; none: print what is there")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels downloaded earlier")
    parser.add_argument("--keep", action="store_true", help="do not delete what was downloaded")
    options = parser.parse_args()
    data = json.loads(DATA.read_text("utf-8")) if DATA.exists() else {}
    for version in options.versions:
        with tempfile.TemporaryDirectory() as place:
            folder = options.wheels or Path(place)
            wheel = download(version, folder)
            data = merged(data, {version: known(wheel)})
            if not options.keep:
                wheel.unlink()
        DATA.write_text(written(data), "utf-8")
        print(version, *(f"{kind} {len(data[kind])}" for kind in KINDS))
    if not options.versions:
        print(*data.get("releases", []))


if __name__ == "__main__":
    main()
