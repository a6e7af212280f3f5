"""A shell script for a machine that one has, which a person can read and run."""

from __future__ import annotations

from gdl.handover import routing, words
from gdl.handover.running import Running
from gdl.handover.writing import command, comment, shell_word


def written(run: Running) -> str:
    """The file's text."""
    launch = run.launch
    secrets = " ".join(f"{name}=..." for name in launch.secrets)
    head = comment(
        run.title,
        f"{secrets} sh FILE".strip(),
        "It installs what is missing, then serves until it is ended (Ctrl-C, or its signal TERM).",
        "Nothing here ends the machine: what it costs, it costs until you end it.",
        *_how_many(run),
        *words.notes(run, rents=False),
    )
    done = shell_word(f"venv/.{launch.engine}-{launch.version}")
    made = [
        f"if [ ! -e {done} ]; then",
        *_indented(words.BY_UV.splitlines()),
        "    rm -rf venv",
        *_indented(words.environment_lines(run, '"$PYTHON"')),
        f"    : > {done}",
        "fi",
        ". venv/bin/activate",
    ]
    install = made if launch.install else words.environment_lines(run, "")
    python = [f'[ -n "${{PYTHON-}}" ] || PYTHON={shell_word(launch.python)}']
    server = words.server(launch, image=False, model='"$MODEL"', host='"$LISTEN"', port='"$PORT"')
    lines = [
        "#!/bin/sh",
        *head,
        "set -eu",
        "",
        *comment("To be changed by variables of these names."),
        f'[ -n "${{MODEL-}}" ] || MODEL={words.model_word(launch)}',
        '[ -n "${LISTEN-}" ] || LISTEN=127.0.0.1',
        f'[ -n "${{PORT-}}" ] || PORT={launch.port}',
        *(python if launch.install else ()),
        f'[ -n "${{FOLDER-}}" ] || FOLDER="$HOME"/serve-{run.name}',
        "",
        'mkdir -p "$FOLDER"',
        'cd "$FOLDER"',
        *_router(run),
        *(f': "${{{name}:?is not set}}"' for name in launch.secrets),
        *words.exports(launch),
        "",
        *install,
        "",
        command(words.start(launch, image=False), server),
    ]
    return "\n".join(lines) + "\n"


def _how_many(run: Running) -> list[str]:
    if run.fleet is None:
        return []
    return [
        f"Each of the {run.replicas} replicas: sh FILE on a machine of its own, with the same key.",
        "Then, where the requests come: sh FILE router http://127.0.0.1:PORT ..., with the address"
        " of every replica, such as the ends of SSH tunnels.",
    ]


def _router(run: Running) -> list[str]:
    """Lines that serve as the router instead, where that is asked for."""
    if run.fleet is None:
        return []
    start = " ".join(routing.command(run.fleet, '"$PORT"'))
    return [
        "",
        'if [ "${1-}" = router ]; then',
        "    shift",
        *_indented(words.BY_UV.splitlines()),
        "    [ -x router/bin/vllm-router ] || {",
        "        uv venv --clear --python 3.12 router",
        f"        uv pip install --python router/bin/python {routing.PACKAGE}",
        "    }",
        f'    exec router/bin/{start} "$@"',
        "fi",
        "",
    ]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for each in lines for line in each.split("\n")]
