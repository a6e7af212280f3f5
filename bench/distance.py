"""What distance costs, part by part, through links with a delay (bench/link.py; Linux, root).

    .venv/bin/python bench/distance.py [tunnel ...]

Each part is a script of its own with options of its own; this runs them one after the other, as
they are by default.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from link import why_not

HERE = Path(__file__).resolve().parent
PARTS: dict[str, list[str]] = {
    "tunnel": ["tunnel.py"],
    "logs": ["distance_logs.py"],
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all without one")
    wanted = parser.parse_args().parts or list(PARTS)
    if unknown := [name for name in wanted if name not in PARTS]:
        parser.error(f"unknown: {', '.join(unknown)}")
    if reason := why_not():
        sys.exit(reason)
    failed = []
    for name in wanted:
        print(f"\n## {name}\n", flush=True)
        script, *words = PARTS[name]
        if subprocess.run([sys.executable, HERE / script, *words], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
