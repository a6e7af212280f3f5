"""Starts SGLang's server after a look at what it imports: `python sglang_launch.py ARGS`, on the
machine.

Prints one `[gdl] verified NAME VERSION` per package, or `[gdl] import failed: NAME: ERROR` with
the traceback and exit status 86. The imports are the server's own, so verifying costs nothing.

SGLang takes the key by an argument alone, which every process list shows, and writes all its
arguments into its log. So the key comes in the environment (SGLANG_API_KEY), becomes an argument
inside the process, and is replaced in every line that is logged, in its children, too.
"""

import importlib
import logging
import os
import runpy
import sys
import traceback

FAILED = 86
SERVER = "sglang.launch_server"
KEY = "SGLANG_API_KEY"
PACKAGES = ("numpy", "torch", "sglang")


def hide(key):
    """Replaces the key in what is logged from now on."""
    if not key:
        return
    make = logging.getLogRecordFactory()

    def record(*args, **kwargs):
        made = make(*args, **kwargs)
        if key in str(made.msg) or made.args:
            said = made.getMessage()
            if key in said:
                made.msg, made.args = said.replace(key, "[hidden]"), None
        return made

    logging.setLogRecordFactory(record)


def verify(name):
    module = importlib.import_module(name)
    note = ""
    if name == "torch":
        note = f" (CUDA: {module.version.cuda or 'none'})"
    print(f"[gdl] verified {name} {getattr(module, '__version__', '')}{note}", flush=True)


def verified():
    """Whether everything can be imported; told in any case."""
    for name in PACKAGES:
        try:
            verify(name)
        except BaseException as error:
            said = " ".join(str(error).split())[:500]
            print(f"[gdl] import failed: {name}: {type(error).__name__}: {said}", flush=True)
            traceback.print_exc()
            return False
    return True


def main(args):
    if not verified():
        return FAILED
    key = os.environ.get(KEY, "")
    sys.argv = ["sglang", *args, *(["--api-key", key] if key else [])]
    # This file stays `__main__` for the processes that are spawned.
    runpy.run_module(SERVER, run_name="__main__")
    return 0


if __name__ in ("__main__", "__mp_main__"):
    hide(os.environ.get(KEY, ""))

if __name__ == "__main__":
    # The folder of this script holds nothing to import.
    del sys.path[0]
    sys.exit(main(sys.argv[1:]))
