"""Packages of other people, as pip would install them: their modules and their entry points.

Each is a folder of tests/outside with a pyproject.toml; nothing is built or downloaded.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

OUTSIDE = Path(__file__).resolve().parent / "outside"


def install(name: str, site: Path) -> Path:
    """Put the package into `site`, a folder for sys.path or PYTHONPATH; returns it."""
    source = OUTSIDE / name
    project = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"]
    shutil.copytree(source, site, ignore=shutil.ignore_patterns("pyproject.toml", "__pycache__"))
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site
