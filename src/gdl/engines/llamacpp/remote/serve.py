"""Starts llama.cpp's server out of the package xllamacpp: `python serve.py ARGS`, on the machine.

The arguments are those of `llama-server`, read by its own parser, which the package's library holds
and does not offer to Python: it is called where it lies. What it must be told, the number of the
server among llama.cpp's programs and where the settings lie in Python's object, is found out by
trying, in a child process, as a wrong guess may end it. Prints `[gdl] verified xllamacpp VERSION`,
or `[gdl] import failed: xllamacpp: ERROR` with exit status 86.

While the model is loaded the server tells what it holds; afterwards only what matters.
"""

import ctypes
import os
import signal
import sys

FAILED = 86
PARSE = "_Z19common_params_parseiPPcR13common_params13llama_examplePFviS0_E"
TALK = "_Z30common_log_set_verbosity_tholdi"
HEADER = object.__basicsize__
PROGRAMS = 40
PROBE = ("--metrics", "--port", "4242", "--ctx-size", "4096")


def fail(words):
    print("[gdl] " + words, flush=True)
    sys.exit(FAILED)


def parsed(package, library, words, program):
    """Their settings; None where the parser refuses them, which it has explained."""
    settings = package.CommonParams()
    argv = [b"llama-server", *(os.fsencode(word) for word in words)]
    array = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
    parse = getattr(library, PARSE)
    parse.restype = ctypes.c_bool
    place = ctypes.c_void_p(id(settings) + HEADER)
    return settings if parse(len(argv), array, place, program, None) else None


def is_server(package, library, program):
    """Whether the program of that number takes a server's arguments, and they arrive."""
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        for name in [n for n in os.environ if n.startswith("LLAMA_")]:
            os.unsetenv(name)
        found = parsed(package, library, PROBE, program)
        right = found is not None and found.endpoint_metrics
        os._exit(0 if right and (found.port, found.n_ctx) == (4242, 4096) else 1)
    return os.waitpid(child, 0)[1] == 0


def main(words):
    try:
        import xllamacpp as package
        from xllamacpp import xllamacpp as binary
    except Exception as error:
        fail(f"import failed: xllamacpp: {type(error).__name__}: {' '.join(str(error).split())}")
    version = package.__version__
    print("[gdl] verified xllamacpp " + version, flush=True)
    library = ctypes.CDLL(binary.__file__)
    numbers = range(PROGRAMS) if hasattr(library, PARSE) else ()
    program = next((n for n in numbers if is_server(package, library, n)), None)
    if program is None:
        fail(f"xllamacpp {version} does not take llama-server's arguments")
    settings = parsed(package, library, words, program)
    if settings is None:
        sys.exit(1)
    try:
        server = package.Server(settings)
    except RuntimeError as error:
        print(f"[gdl] the server did not start: {error}", flush=True)
        sys.exit(1)
    if hasattr(library, TALK):
        getattr(library, TALK)(3)
    print("[gdl] serving at " + server.listening_address, flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
