"""Notes for vLLM what it wants to know of a model's class: `python model_class.py CLASS...`, on the
machine, beside the server's own imports.

vLLM starts a process that imports everything once more to look at the class, and keeps what it
finds in its cache (`modelinfos` in VLLM_CACHE_ROOT, since 0.11). Whatever goes wrong here, vLLM
does that by itself a moment later. Ends with the process that began it: its input is closed then.
"""

import gc
import os
import sys
import threading
from pathlib import Path


def noted(name):
    """Whether there are notes on a class already. Whether they are of this release, vLLM checks."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(os.environ.get("VLLM_CACHE_ROOT") or Path(home) / "vllm")
    return any(root.joinpath("modelinfos").glob("*-" + name + ".json"))


def end_with_the_server():
    sys.stdin.buffer.read()
    os._exit(1)


def main(names):
    missing = [name for name in names if not noted(name)]
    if not missing:
        return
    threading.Thread(target=end_with_the_server, daemon=True).start()
    gc.disable()
    from vllm.model_executor.models import registry
    from vllm.plugins import load_general_plugins

    load_general_plugins()
    # This process is the other one that it would start.
    registry._run_in_subprocess = lambda look: look()
    for name in missing:
        known = registry.ModelRegistry.models.get(name)
        if hasattr(known, "_save_modelinfo_to_cache"):
            known.inspect_model_cls()


if __name__ == "__main__":
    # The folder of this script holds nothing to import.
    del sys.path[0]
    main(sys.argv[1:])
    os._exit(0)
