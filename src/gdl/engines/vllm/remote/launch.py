"""Starts vLLM's server after a look at what it imports: `python launch.py ARGS`, on the machine.

Prints one `[gdl] verified NAME VERSION` per package, or `[gdl] import failed: NAME: ERROR` with
the traceback and exit status 86. The imports are the server's own, so verifying costs nothing.
With GDL_CUDA=1 in the environment the GPU has to do one tiny operation as well.
"""

import importlib
import os
import runpy
import sys
import traceback

FAILED = 86


def distribution_present(name):
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def one_line(error):
    return f"{type(error).__name__}: " + " ".join(str(error).split())[:500]


def check_cuda(torch):
    """One operation on the GPU: a driver that is too old may list devices and fail only here.

    In a forked child, because a process that has touched CUDA cannot fork workers any more and
    keeps some of the GPU's memory. Raises RuntimeError with the child's own words.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        words = b""
        try:
            if not torch.cuda.is_available():
                torch.zeros(1, device="cuda")
                raise RuntimeError("CUDA not available: torch sees no GPU")
            torch.ones(8, device="cuda").sum().item()
        except BaseException as error:
            words = " ".join(str(error).split()).encode("utf-8", "replace") or b"unknown"
        os.write(writing, words)
        os._exit(1 if words else 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        words = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(words or f"the CUDA check ended with wait status {status}")


def verify(name):
    module = importlib.import_module(name)
    note = ""
    if name == "torch":
        note = f" (CUDA: {module.version.cuda or 'none'})"
        if os.environ.get("GDL_CUDA") == "1":
            check_cuda(module)
    print(f"[gdl] verified {name} {getattr(module, '__version__', '')}{note}", flush=True)


def main(args):
    names = ["numpy", "torch", "vllm"]
    if distribution_present("torchvision"):
        names.insert(2, "torchvision")
    for name in names:
        try:
            verify(name)
        except BaseException as error:
            print(f"[gdl] import failed: {name}: {one_line(error)}", flush=True)
            traceback.print_exc()
            return FAILED
    sys.argv = ["vllm", *args]
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    # The folder of this script holds nothing to import.
    del sys.path[0]
    sys.exit(main(sys.argv[1:]))
