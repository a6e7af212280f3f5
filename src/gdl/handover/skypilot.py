"""A task of SkyPilot (checked with 0.14.1), for `sky launch` and `sky serve up` alike."""

from __future__ import annotations

import math
from typing import Any

from gdl.handover import gpu_names, words
from gdl.handover.running import Running
from gdl.handover.writing import command, comment, yaml

_CLOUDS = {"vastai": "vast", "runpod": "runpod"}
_FIRST_READY_S = 1800
"""Installing, fetching the weights and loading them, at worst."""


def written(run: Running) -> str:
    """The file's text."""
    secrets = "".join(f" --secret {name}" for name in run.launch.secrets)
    head = [
        run.title,
        f"sky serve up FILE{secrets}"
        if run.fleet is not None
        else f"sky launch FILE{secrets} for one machine, sky serve up FILE{secrets} for a service",
        *words.notes(run, rents=True),
    ]
    return "\n".join([*comment(*head), *yaml(_task(run))]) + "\n"


def _port(run: Running) -> int:
    """On Vast.ai it can reach no other (sky/provision/vast/instance.py)."""
    return 8080 if _CLOUDS.get(run.backend) == "vast" else run.launch.port


def _task(run: Running) -> dict[str, Any]:
    launch = run.launch
    made: dict[str, Any] = {"name": run.name, "resources": _resources(run)}
    if launch.environment:
        made["envs"] = dict(launch.environment)
    if launch.secrets:
        made["secrets"] = dict.fromkeys(launch.secrets)
    made["service"] = _service(run)
    setup = ["set -e", "mkdir -p ~/serve && cd ~/serve"]
    if launch.install:
        setup += [words.BY_UV.rstrip("\n"), "[ ! -d venv ] || rm -rf venv"]
    made["setup"] = "\n".join([*setup, *words.environment_lines(run, launch.python)]) + "\n"
    server = words.server(
        launch,
        image=False,
        model=words.model_word(launch),
        host="0.0.0.0",  # noqa: S104 - its own proxy comes from elsewhere
        port=str(_port(run)),
    )
    start = command(words.start(launch, image=False), server)
    active = ". venv/bin/activate\n" if launch.install else ""
    made["run"] = f"cd ~/serve\n{active}{start}\n"
    return made


def _resources(run: Running) -> dict[str, Any]:
    made: dict[str, Any] = {}
    cloud = _CLOUDS.get(run.backend)
    if cloud:
        made["infra"] = cloud
    if run.gpu_count:
        names = gpu_names.of_skypilot(run.gpu, run.gpu_gib)
        by_memory = f"{max(int(run.gpu_gib), 1)}GB+:{run.gpu_count}"
        made["accelerators"] = dict.fromkeys(names, run.gpu_count) if names else by_memory
    else:
        made["cpus"] = f"{max(min(run.cpus, 8), 1)}+"
    if run.ram_gib:
        made["memory"] = f"{max(min(int(run.ram_gib), 16), 1)}+"
    made |= {"disk_size": run.disk_gb, "ports": _port(run)}
    if run.ceiling is not None:
        made["max_hourly_cost"] = run.ceiling
        made["use_spot"] = run.spec.query.interruptible
    made |= _autostop(run)
    return made


def _autostop(run: Running) -> dict[str, Any]:
    """For `sky launch`: a server that runs is a job that never ends, so that idleness is none. The
    time is counted whatever runs."""
    if run.hours is None:
        return {}
    stop = {"idle_minutes": words.minutes(run.hours), "down": True, "wait_for": "none"}
    return {"autostop": stop}


def _service(run: Running) -> dict[str, Any]:
    launch = run.launch
    probe: dict[str, Any] = {"path": launch.health, "initial_delay_seconds": _FIRST_READY_S}
    if launch.key:
        probe["headers"] = {"Authorization": f"Bearer ${launch.key}"}
    policy: dict[str, Any] = {"min_replicas": run.replicas, "max_replicas": run.replicas}
    if run.idle_minutes is not None:
        delay = max(math.ceil(run.idle_minutes * 60), 60)
        policy = {"min_replicas": 0, "max_replicas": run.replicas, "target_qps_per_replica": 10}
        policy["downscale_delay_seconds"] = delay
    return {"readiness_probe": probe, "replica_policy": policy}
