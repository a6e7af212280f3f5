"""How long an installation takes: uv as gdl-tui uses it, beside pip, on the same packages.

    .venv/bin/python bench/install.py [--rounds 3] [--json FILE] [PACKAGE ...]

Each measurement makes an environment and installs into it, in a folder of its own: cold (empty
caches) and warm (caches filled by the cold run). "pip" is `python -m venv` and `pip install`; "uv"
is uv as it comes, "uv+bytecode" writes bytecode as pip does; "gdl-tui" is uv by the shell of the
plan's steps, which asks pip for its settings first. The ways take turns, because the machine may
have warmed up for the next. Prints medians; with the default packages about 3 minutes a round.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gdl.engines.python import shell
from gdl.engines.python.ways import Way

PACKAGES = ("numpy", "scipy", "pandas", "transformers")
STATES = ("cold", "warm")
LIMIT_S = 1800


class Place:
    """A folder for one measurement, and caches that may outlive it."""

    def __init__(self, folder: Path, cache: Path, uv: Path) -> None:
        self.folder = folder
        self.uv = uv
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("GDL_", "UV_", "PYTHON"))}
        self.env = {**kept, "UV_CACHE_DIR": str(cache / "uv"), "PIP_CACHE_DIR": str(cache / "pip")}

    def run(self, *words: str) -> float:
        """Seconds. Ends the program when it fails."""
        begun = time.monotonic()
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        if done.returncode:
            said = (done.stdout + done.stderr)[-2000:]
            raise SystemExit(f"{' '.join(words)[:200]} failed:\n{said}")
        return time.monotonic() - begun


Times = dict[str, float]


def by_pip(place: Place, packages: tuple[str, ...]) -> Times:
    times = {"environment": place.run(sys.executable, "-m", "venv", "venv")}
    install = ("venv/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check")
    return {**times, "install": place.run(*install, *packages)}


def by_uv(place: Place, packages: tuple[str, ...], *options: str) -> Times:
    uv = str(place.uv)
    times = {"environment": place.run(uv, "venv", "-q", "--python", sys.executable, "venv")}
    # What pip is told on this machine, uv is told as well; not a part of what is measured.
    links = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.find-links"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    words = [word for link in links for word in ("--find-links", link)]
    install = (uv, "pip", "install", "-q", "--python", "venv/bin/python", *words, *options)
    return {**times, "install": place.run(*install, *packages)}


def by_uv_as_pip(place: Place, packages: tuple[str, ...]) -> Times:
    return by_uv(place, packages, "--compile-bytecode")


def by_plan(place: Place, packages: tuple[str, ...]) -> Times:
    """The plan's own pieces of shell, in one script as in one step."""
    (place.folder / "uv/bin").mkdir(parents=True)
    (place.folder / shell.UV).symlink_to(place.uv)
    name, text = shell.remote_file("pipconf.py")
    (place.folder / name).write_text(text)
    venv = f"{shell.PREAMBLE}{shell.UV} venv --python {sys.executable} ./venv\n"
    lines = [shell.PREAMBLE, shell.like_pip()]
    # One requirement a line is what `uv_line` makes; the others ride along as its options.
    first, *others = packages
    lines.append(f"{shell.uv_line(Way(first), list(others))}\n")
    times = {"environment": place.run("/bin/sh", "-c", venv)}
    return {**times, "install": place.run("/bin/sh", "-c", "".join(lines))}


WAYS: dict[str, Callable[[Place, tuple[str, ...]], Times]] = {
    "pip": by_pip,
    "uv": by_uv,
    "uv+bytecode": by_uv_as_pip,
    "gdl-tui": by_plan,
}


@contextmanager
def a_folder(prefix: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bring_uv(folder: Path) -> Path:
    """uv, from the machine or the package index."""
    if found := shutil.which("uv"):
        return Path(found)
    words = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), "uv"]
    subprocess.run(words, check=True, timeout=LIMIT_S)
    return folder / "bin/uv"


def measure(rounds: int, packages: tuple[str, ...]) -> dict[str, list[Times]]:
    results: dict[str, list[Times]] = {}
    with a_folder("uv-") as tools:
        uv = bring_uv(tools)
        for turn in range(rounds):
            names = list(WAYS) if turn % 2 == 0 else list(WAYS)[::-1]
            for name in names:
                with a_folder("cache-") as cache:
                    for state in STATES:
                        with a_folder("install-") as folder:
                            times = WAYS[name](Place(folder, cache, uv), packages)
                        results.setdefault(f"{name}, {state}", []).append(times)
                        shown = ", ".join(f"{k} {v:.2f}" for k, v in times.items())
                        print(f"{name}, {state}: {shown}", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", metavar="PACKAGE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    packages = tuple(chosen.packages) or PACKAGES
    results = measure(chosen.rounds, packages)
    print(f"\nmedians of {chosen.rounds}, seconds, {' '.join(packages)}:")
    for state in STATES:
        by_way = {}
        for name in WAYS:
            runs = results[f"{name}, {state}"]
            each = {k: statistics.median(r[k] for r in runs) for k in runs[0]}
            by_way[name] = statistics.median(sum(r.values()) for r in runs)
            parts = ", ".join(f"{k} {v:.2f}" for k, v in each.items())
            print(f"  {state} {name:<11} {by_way[name]:6.2f}  ({parts})")
        print(
            f"  {state}: uv is {by_way['pip'] / by_way['uv']:.1f} times as fast as pip; gdl-tui's "
            f"step costs {by_way['gdl-tui'] - by_way['uv']:+.2f} s over uv alone"
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
