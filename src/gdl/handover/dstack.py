"""A service of dstack (checked with 0.22.5).

dstack sends no key of ours: with `model:` its own route to chat completions, and the probe that it
makes of that, are answered 401 by a server that asks for one. So the service has no `model:`, asks
for no token of dstack's, and its probe names the header.
"""

from __future__ import annotations

import math
from typing import Any

from gdl.handover import gpu_names, words
from gdl.handover.running import Running
from gdl.handover.writing import command, comment, yaml


def written(run: Running) -> str:
    """The file's text."""
    launch = run.launch
    secrets = " and ".join(launch.secrets) or "nothing"
    head = [
        run.title,
        f"dstack apply -f FILE, with {secrets} in the environment",
        *words.notes(run, rents=True),
    ]
    return "\n".join([*comment(*head), *yaml(_service(run))]) + "\n"


def _service(run: Running) -> dict[str, Any]:
    launch = run.launch
    # What has a $ in it dstack might take for its own.
    plain = [f"{name}={value}" for name, value in launch.environment if "$" not in value]
    made: dict[str, Any] = {"type": "service", "name": run.name}
    if launch.image or launch.python:
        made |= {"image": launch.image} if launch.image else {"python": launch.python}
    made["env"] = [*launch.secrets, *plain]
    made["commands"] = _commands(run)
    made |= {"port": launch.port, "auth": False, "probes": [_probe(run)]}
    made |= _replicas(run)
    made["resources"] = _resources(run)
    if run.ceiling is not None:
        made["max_price"] = run.ceiling
        made["spot_policy"] = "spot" if run.spec.query.interruptible else "on-demand"
    if run.hours is not None:
        made["max_duration"] = f"{words.minutes(run.hours)}m"
    return made


def _commands(run: Running) -> list[str]:
    launch = run.launch
    with_dollar = [line for line in words.exports(launch) if "$" in line]
    lines = [] if launch.image else words.environment_lines(run, launch.python, "~/serve")
    server = words.server(
        launch,
        image=bool(launch.image),
        model=words.model_word(launch),
        host="0.0.0.0",  # noqa: S104 - inside the container
        port=str(launch.port),
    )
    return [*with_dollar, *lines, command(words.start(launch, image=bool(launch.image)), server)]


def _probe(run: Running) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "http", "url": run.launch.health, "timeout": "10s"}
    if run.launch.key:
        value = f"Bearer ${{{{ env.{run.launch.key} }}}}"
        made["headers"] = [{"name": "Authorization", "value": value}]
    return made


def _replicas(run: Running) -> dict[str, Any]:
    """As many as here; without requests for so long as a guard would have waited, none."""
    if run.idle_minutes is None:
        return {"replicas": run.replicas}
    delay = f"{max(math.ceil(run.idle_minutes), 1)}m"
    scaling = {"metric": "rps", "target": 10, "scale_down_delay": delay}
    return {"replicas": f"0..{run.replicas}", "scaling": scaling}


def _resources(run: Running) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if run.ram_gib:
        made["memory"] = f"{max(min(int(run.ram_gib), 16), 1)}GB.."
    made["disk"] = f"{run.disk_gb}GB.."
    if run.gpu_count:
        made["shm_size"] = "8GB"
        made["gpu"] = {"vendor": "nvidia"}
        name = gpu_names.of_dstack(run.gpu)
        if name:
            made["gpu"]["name"] = name
        if run.gpu_gib:
            made["gpu"]["memory"] = f"{int(run.gpu_gib)}GB.."
        made["gpu"]["count"] = run.gpu_count
    else:
        made["cpu"] = f"{max(min(run.cpus, 8), 1)}.."
        made["gpu"] = 0
    return made
