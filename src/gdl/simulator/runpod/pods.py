"""Pods as the stand-in for RunPod tells them, and requests for them as it reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gdl.simulator import fault_models
from gdl.simulator.contracts import Contract, State
from gdl.simulator.runpod.errors import Problem
from gdl.simulator.wire_format import Json

_STATUS = {
    State.CREATED: "PROVISIONING",
    State.LOADING: "STARTING",
    State.RUNNING: "RUNNING",
    State.FROZEN: "RUNNING",
    State.STOPPED: "EXITED",
    State.EXITED: "EXITED",
    State.OFFLINE: "ERROR",
    State.UNKNOWN: "ERROR",
}
_ACTIONS = {
    "RUNNING": ["stop", "restart", "terminate"],
    "EXITED": ["start", "terminate"],
    "TERMINATED": [],
}
_TOP: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "image": str,
    "entrypoint": list,
    "cmd": list,
    "disk": int,
    "ports": list,
    "env": dict,
    "mounts": dict,
    "registry": (str, dict),
    "templateId": str,
    "dataCenterIds": list,
    "cloud": str,
    "gpu": dict,
}
_GPU: Mapping[str, type | tuple[type, ...]] = {
    "id": str,
    "count": int,
    "minCudaVersion": str,
    "minRamPerGpu": int,
    "minVcpuCountPerGpu": int,
}
_CUDA = re.compile(r"\d+\.\d+")
_RUNS_SSHD = re.compile(r"\bsshd\b")


def check(body: Json) -> None:
    """Raises Problem for a request that is wrong in itself: unknown fields are errors, too."""
    wrong = [*_wrong(body, _TOP, ""), *_wrong(body.get("gpu") or {}, _GPU, "gpu.")]
    wrong += [f"{name}: required" for name in ("name", "image", "gpu") if not body.get(name)]
    gpu = body.get("gpu")
    if isinstance(gpu, dict):
        if not gpu.get("id"):
            wrong.append("gpu.id: required")
        cuda = gpu.get("minCudaVersion")
        if cuda is not None and not _CUDA.fullmatch(str(cuda)):
            wrong.append("gpu.minCudaVersion: does not match the pattern")
    if body.get("cloud", "SECURE") not in ("SECURE", "COMMUNITY"):
        wrong.append("cloud: not one of SECURE, COMMUNITY")
    for port in body.get("ports") or []:
        if not re.fullmatch(r"\d{1,5}/(tcp|http)", str(port)):
            wrong.append(f"ports: {port}")
    if wrong:
        raise Problem(422, "The request could not be read.", wrong)


def _wrong(body: Any, known: Mapping[str, type | tuple[type, ...]], where: str) -> list[str]:
    if not isinstance(body, dict):
        return [f"{where.rstrip('.')}: not an object"]
    unknown = [f"{where}{name}: unknown field" for name in body if name not in known]
    wrong = [
        f"{where}{name}: wrong type"
        for name, value in body.items()
        if name in known and (not isinstance(value, known[name]) or isinstance(value, bool))
    ]
    return unknown + wrong


def brings_sshd(body: Json) -> bool:
    """Whether an SSH server runs in it: RunPod's own images have one, others need a command."""
    command = " ".join(str(word) for key in ("entrypoint", "cmd") for word in body.get(key) or [])
    return str(body["image"]).startswith("runpod/") or bool(_RUNS_SSHD.search(command))


def status(contract: Contract) -> str:
    if contract.destroying:
        return "TERMINATED"
    if contract.state is State.CREATED and contract.message:
        return "ERROR"
    return _STATUS[contract.state]


def row(contract: Contract) -> Json:
    """One pod, every field of it."""
    body, told = contract.values, status(contract)
    bills = told not in ("EXITED", "TERMINATED")
    running = told == "RUNNING"
    entrypoint, cmd = body.get("entrypoint") or [], body.get("cmd") or []
    found: Json = {
        "id": contract.id,
        "name": contract.label,
        "status": told,
        "actions": _ACTIONS.get(told, ["terminate"]),
        "image": body.get("image"),
        "args": "",
        "entrypoint": entrypoint,
        "cmd": cmd,
        "disk": contract.disk_gb,
        "env": body.get("env") or {},
        "ports": body.get("ports") or [],
        "registry": None,
        "mounts": body.get("mounts") or {},
        "gpu": {
            "id": contract.offer.gpu.smi,
            "count": contract.offer.count,
            "vcpuCount": 8 * contract.offer.count,
            "memory": 48 * contract.offer.count,
        },
        "cloud": body.get("cloud", "SECURE"),
        "dataCenterId": contract.offer.location if body.get("cloud") != "COMMUNITY" else None,
        "cudaVersion": f"{contract.offer.cuda:.1f}" if running else None,
        "ssh": {"proxy": _proxy(contract) if running else None, "direct": _direct(contract)},
        "template": None,
        "cost": contract.gpu_price + contract.disk_price if bills else 0.0,
        "locked": False,
        "globalNetworking": {"enabled": False},
        "runtime": _runtime(contract) if running else None,
        "createdAt": contract.made.isoformat().replace("+00:00", "Z"),
        "startedAt": contract.started.isoformat().replace("+00:00", "Z")
        if contract.started
        else None,
    }
    misreported = contract.faults.first(fault_models.Misreported)
    return found | dict(misreported.fields if misreported else {})


def _proxy(contract: Contract) -> Json:
    user = f"{contract.id}-64410d22"
    command = f"ssh {user}@ssh.runpod.io"
    return {"host": "ssh.runpod.io", "port": 22, "username": user, "command": command}


def _direct(contract: Contract) -> Json | None:
    """Once its port is mapped."""
    mapped = "22/tcp" in (contract.values.get("ports") or [])  # type: ignore[operator]
    if contract.direct is None or contract.state is not State.RUNNING or not mapped:
        return None
    host, port = contract.direct
    command = f"ssh root@{host} -p {port}"
    return {"host": host, "port": port, "username": contract.user, "command": command}


def _runtime(contract: Contract) -> Json:
    began = contract.started or contract.made
    ports = []
    if contract.direct is not None:
        host, port = contract.direct
        ports = [{"private": 22, "public": port, "type": "tcp", "ip": host}]
    return {"uptime": int((datetime.now(UTC) - began).total_seconds()), "ports": ports}
