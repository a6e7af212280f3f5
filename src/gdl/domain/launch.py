"""How a server is installed and started, as data that names no machine: what is handed over to
other tools is made of it."""

from __future__ import annotations

from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Launch:
    """engine, version: as in settings; the release that runs.

    program: the words that start the server, in the environment that `install` fills;
    program_in_image: in the image, where they are others. model: hub id, or a path on the machine,
    which model_flag stands before; local: it is such a path. arguments: all further words, without
    the model, the address and the port; then those that hold in an image alone, and in an
    environment alone.

    environment: (name, value) of plain variables. secrets: names of variables that have to be set
    as well, and are kept nowhere. key: the one of them that holds the endpoint's key; key_flag:
    the argument that the key is given by, where the engine reads no variable, else "".

    port: on the machine. health: path that tells whether it serves. image: a container image with
    this release, or "". python: the version for the environment, such as "3.12". install: lines of
    POSIX shell that fill a fresh environment, which is active, by uv; none: the program has to be
    there already.

    own_arguments, own_environment: of all that, what the user asked for. notes: what else is to be
    known of it, a sentence each.
    """

    engine: str
    version: str
    program: tuple[str, ...]
    model: str
    model_flag: str
    arguments: tuple[str, ...]
    arguments_in_image: tuple[str, ...] = ()
    arguments_installed: tuple[str, ...] = ()
    local: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    key: str = ""
    key_flag: str = ""
    port: int = 8000
    health: str = "/health"
    image: str = ""
    python: str = ""
    install: tuple[str, ...] = ()
    program_in_image: tuple[str, ...] = ()
    own_arguments: tuple[str, ...] = ()
    own_environment: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
