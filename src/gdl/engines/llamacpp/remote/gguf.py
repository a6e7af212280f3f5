"""Fetches a GGUF model of the hub and tells where it lies: `python gguf.py PLACE REPOSITORY KIND
BYTES FILE...`, on the machine, in an environment with huggingface_hub.

PLACE: a file that holds the path of the first part afterwards. FILE: its parts in order; none:
those of the repository whose name has KIND, such as Q4_K_M. What was begun earlier is gone on with,
and what is there is not fetched again.
"""

import os
import re
import sys
import threading
from pathlib import Path

os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

from huggingface_hub import HfApi, constants, hf_hub_download

EVERY_S = 3
PART = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)", re.IGNORECASE)
NO_MODELS = ("mmproj", "imatrix")


def named(repository, kind):
    """[(path, bytes)] of the parts."""
    found = HfApi().model_info(repository, files_metadata=True).siblings
    parts = [(f.rfilename, f.size or 0) for f in found if f.rfilename.lower().endswith(".gguf")]
    wanted = kind.lower()
    mine = []
    for path, size in sorted(parts):
        name = path.rpartition("/")[2].lower()
        if wanted in path.lower() and not name.startswith(NO_MODELS):
            mine.append((path, size))
    stem = PART.sub("", mine[0][0]) if mine else ""
    return [part for part in mine if PART.sub("", part[0]) == stem]


def come(repository):
    """Bytes of it on the disk, whole files and parts."""
    folder = Path(constants.HF_HUB_CACHE, "models--" + repository.replace("/", "--"), "blobs")
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # it has just got its name
    return total


def tell(repository, size, done):
    while not done.wait(EVERY_S):
        print(f"[gdl] weights: {come(repository) // 10**6} of {size // 10**6} MB", flush=True)


def main(place, repository, kind, size, paths):
    parts = [(path, 0) for path in paths] or named(repository, kind)
    if not parts:
        print(f"[gdl] no GGUF files found in repository {repository} for {kind}", flush=True)
        return 1
    whole = size or sum(part[1] for part in parts)
    done = threading.Event()
    threading.Thread(target=tell, args=(repository, whole, done), daemon=True).start()
    try:
        found = [hf_hub_download(repository, path) for path, _ in parts]
    finally:
        done.set()
    new = Path(place + ".new")
    new.write_text(str(Path(found[0]).absolute()), encoding="utf-8")
    new.replace(place)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:]))
