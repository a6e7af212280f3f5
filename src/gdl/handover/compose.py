"""A file of Docker Compose, for a machine that one has."""

from __future__ import annotations

from typing import Any

from gdl.domain.launch import Launch
from gdl.handover import routing, words
from gdl.handover.running import Running
from gdl.handover.writing import command, comment, yaml

_HUB = "/root/.cache/huggingface"
"""Where hub files are kept in the container: Python's image and those of the engines run as root
unless they are told otherwise, and every server keeps the files below the home folder."""
_AT = "/model"


def written(run: Running) -> str:
    """The file's text."""
    head = [
        run.title,
        f"{' '.join(f'{name}=...' for name in run.launch.secrets)} docker compose -f FILE up -d",
        *words.notes(run, rents=False),
    ]
    made: dict[str, Any] = {"services": _services(run)}
    if not run.launch.local:
        made["volumes"] = {"hub": None}
    return "\n".join([*comment(*head), *yaml(made)]) + "\n"


def _services(run: Running) -> dict[str, Any]:
    """One; or each replica of a fleet with GPUs of its own, and the router, which alone is asked
    from outside."""
    if run.fleet is None:
        return {run.name: _service(run)}
    names = [f"{run.name}-{n}" for n in range(1, run.replicas + 1)]
    made = {name: _service(run) for name in names}
    for place, service in enumerate(made.values()):
        del service["ports"]
        if run.gpu_count:
            (device,) = service["deploy"]["resources"]["reservations"]["devices"]
            first = place * run.gpu_count
            del device["count"]
            device["device_ids"] = [str(first + n) for n in range(run.gpu_count)]
    port = str(run.launch.port)
    urls = [f"http://{name}:{port}" for name in names]
    server = " ".join([*routing.command(run.fleet, port), *urls])
    start = f"pip install --quiet {routing.PACKAGE}\nexec {server}\n"
    made["router"] = {
        "image": "python:3.12",
        "command": ["sh", "-c", f"set -e\n{start}"],
        "ports": [f"127.0.0.1:{port}:{port}"],
        "depends_on": {name: {"condition": "service_healthy"} for name in names},
        "restart": "unless-stopped",
    }
    return made


def _service(run: Running) -> dict[str, Any]:
    launch = run.launch
    made: dict[str, Any] = {"image": launch.image or f"python:{launch.python}"}
    made |= _started(run)
    secrets = {name: f"${{{name}:?is not set}}" for name in launch.secrets}
    made["environment"] = {**secrets, **{n: _escaped(v) for n, v in launch.environment}}
    made["ports"] = [f"127.0.0.1:{launch.port}:{launch.port}"]
    made["volumes"] = [_volume(launch)]
    made["healthcheck"] = _healthcheck(launch)
    made["restart"] = "unless-stopped"
    made["shm_size"] = "8gb"
    if run.gpu_count:
        device = {"driver": "nvidia", "count": run.gpu_count, "capabilities": ["gpu"]}
        made["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return made


def _started(run: Running) -> dict[str, Any]:
    """In the engine's image as one list of words; else a shell installs it first."""
    launch = run.launch
    if launch.image:
        program = words.program(launch, image=True)
        return {"entrypoint": list(program), "command": _words(launch)}
    model = _AT if launch.local else words.model_word(launch)
    listen = "0.0.0.0"  # noqa: S104 - inside the container
    server = words.server(launch, image=False, model=model, host=listen, port=str(launch.port))
    start = command(words.start(launch, image=False), server)
    bring = ["set -e", "pip install --quiet uv", "cd /opt"]
    make = words.environment_lines(run, launch.python)
    first = [f"if [ ! -d venv ]; then {make[0]}; fi"] if launch.install else make[:1]
    lines = [*bring, *first, *make[1:], start]
    return {"command": ["sh", "-c", _escaped("\n".join(lines) + "\n")]}


def _words(launch: Launch) -> list[str]:
    model = _AT if launch.local else launch.model
    listen = "0.0.0.0"  # noqa: S104 - inside the container
    made = [launch.model_flag, model, "--host", listen, "--port", str(launch.port)]
    made += [*launch.arguments, *launch.arguments_in_image]
    key = [launch.key_flag, f"${{{launch.key}}}"] if launch.key_flag else []
    return [*map(_escaped, made), *key]


def _volume(launch: Launch) -> dict[str, Any] | str:
    if not launch.local:
        return f"hub:{_HUB}"
    return {"type": "bind", "source": _escaped(launch.model), "target": _AT, "read_only": True}


def _healthcheck(launch: Launch) -> dict[str, Any]:
    """By the Python that the server runs in; images of other programs have curl for it."""
    url = f"http://127.0.0.1:{launch.port}{launch.health}"
    in_python = not launch.image or words.program(launch, image=True)[0] == "python3"
    return {
        "test": _by_python(url, launch.key) if in_python else _by_curl(url, launch.key),
        "interval": "15s",
        "timeout": "15s",
        "retries": 3,
        "start_period": "30m",
    }


def _by_python(url: str, key: str) -> list[str]:
    told = f"os.environ[{key!r}]" if key else "''"
    code = (
        f"import os, urllib.request as u; u.urlopen(u.Request('{url}', "
        f"headers={{'Authorization': 'Bearer ' + {told}}}), timeout=10)"
    )
    return ["CMD", "python3", "-c", code]


def _by_curl(url: str, key: str) -> list[str]:
    ask = f"curl -fsS -m 10 -o /dev/null {url}"
    told = f"printf 'Authorization: Bearer %s' \"$${key}\" | {ask} -H @-"
    return ["CMD-SHELL", told if key else ask]


def _escaped(text: str) -> str:
    """Compose replaces variables everywhere."""
    return text.replace("$", "$$")
