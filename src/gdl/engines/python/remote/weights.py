"""Fetches a model into the hub's cache while its server is being installed: `python weights.py
REPOSITORY TURN BYTES FILE...`, on the machine, in an environment with huggingface_hub.

One connection while others use the line for what is needed first, eight once the file TURN is
there. Whatever is missing in the end, the server fetches by itself; so only what it would fail by
as well is a failure here: no space, no access. Parts are fetched by plain HTTP, and a file that was
begun is gone on with.
"""

import errno
import os
import queue
import sys
import threading
import time
from pathlib import Path

os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.utils import GatedRepoError, RepositoryNotFoundError

CONNECTIONS = 8
EVERY_S = 3
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Fetching:
    """The files that are still to come, and what went wrong with one."""

    def __init__(self, repository, names):
        self.repository = repository
        self.names = queue.SimpleQueue()
        for name in names:
            self.names.put(name)
        self.error = None
        self.threads = []

    def begin(self, count):
        for _ in range(count):
            thread = threading.Thread(target=self.fetch, daemon=True)
            thread.start()
            self.threads.append(thread)

    def fetch(self):
        while self.error is None:
            try:
                hf_hub_download(self.repository, self.names.get_nowait())
            except queue.Empty:
                return
            except Exception as error:
                self.error = error

    @property
    def at_work(self):
        return any(thread.is_alive() for thread in self.threads)


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


def hopeless(error):
    """Whether the server would fail by it as well."""
    full = isinstance(error, OSError) and error.errno in NO_SPACE
    return full or isinstance(error, (GatedRepoError, RepositoryNotFoundError))


def main(repository, turn, size, names):
    fetching = Fetching(repository, names)
    fetching.begin(1)
    told = 0.0
    while fetching.at_work:
        if len(fetching.threads) == 1 and turn.exists():
            fetching.begin(CONNECTIONS - 1)
        if time.monotonic() - told >= EVERY_S:
            told = time.monotonic()
            megabytes = str(come(repository) // 10**6) + " of " + str(size // 10**6) + " MB"
            print("[gdl] weights: " + megabytes, flush=True)
        fetching.threads[-1].join(0.5)
    error = fetching.error
    if error is None:
        return 0
    print(type(error).__name__ + ": " + str(error), flush=True)
    if hopeless(error):
        return 1
    print("[gdl] the server fetches the rest", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
